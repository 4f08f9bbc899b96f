"""Accuracy that a time budget buys: what `imgtrain init` writes, unedited, beside other ways to train from scratch.

    python benchmarks/recipe.py FOLDER [--minutes 0.5 1 3 10] [--seeds 3] [--only "imgtrain;…"]

FOLDER contains one folder of photos per class. Every fifth image of a class is held out and scored; the others are
trained on. The held-out images are also those that the best epoch is chosen on, for every contender. Contenders run one
after the other, each in a process of its own. PyTorch's need `pip install torch torchvision`, YOLO's `ultralytics`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
from photos import lay_out


def imgtrain(folder: Path, minutes: float, seed: int) -> tuple[float, float]:
    """Return accuracy and seconds of training of what `init` writes."""
    config, run = folder / "config.yaml", folder / f"run-{minutes:g}-{seed}"
    command = [sys.executable, "-m", "imgtrain"]
    overrides = ["--set", f"training.seed={seed}", "--set", "data.on_leak=warn"]
    subprocess.run(
        [*command, "init", folder, "-o", config, "--minutes", str(minutes), "--overwrite", "--quiet"],
        check=True,
    )
    subprocess.run([*command, "train", config, *overrides, "-o", run, "--overwrite", "--quiet"], check=True)
    with (run / "history.csv").open(newline="") as file:
        seconds = sum(float(epoch["seconds"]) for epoch in csv.DictReader(file))
    metrics = json.loads((run / "metrics.json").read_text())
    return metrics["validation"]["accuracy"], seconds


def script(folder: Path, minutes: float, seed: int) -> tuple[float, float]:
    """Train the network of the tutorials with ImageDataGenerator for as many epochs as fit."""
    import keras

    keras.utils.set_random_seed(seed)
    train, held_out = (peers.image_data_generator(folder, split) for split in ("train", "validation"))
    model = peers.keras_network("three", len(train.class_indices))
    best, begun = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < 60 * minutes:
        history = model.fit(train, validation_data=held_out, epochs=1, verbose=0)
        best = max(best, history.history["val_accuracy"][0])
    return best, spent


def resnet18(folder: Path, minutes: float, seed: int) -> tuple[float, float]:
    """Train torchvision's resnet18 from scratch with its standard augmentation, at 96×96 in bfloat16."""
    import torch
    from torchvision import datasets, models
    from torchvision.transforms import v2

    torch.manual_seed(seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    to_tensor = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    augment = v2.Compose([v2.RandomResizedCrop(96), v2.RandomHorizontalFlip(), *to_tensor])
    center = v2.Compose([v2.Resize(110), v2.CenterCrop(96), *to_tensor])
    train = datasets.ImageFolder(folder / "train", augment)
    loader = torch.utils.data.DataLoader(train, 32, shuffle=True, num_workers=2, persistent_workers=True)
    held_out = torch.utils.data.DataLoader(datasets.ImageFolder(folder / "validation", center), 128)
    model = models.resnet18(num_classes=len(train.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(0.0, 1 - (time.perf_counter() - begun) / (60 * minutes))
    )
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    best, begun = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < 60 * minutes:
        model.train()
        for images, labels in loader:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model(images.to(memory_format=torch.channels_last)), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        right = 0
        with torch.inference_mode():
            for images, labels in held_out:
                right += int((model(images).argmax(1) == labels).sum())
        best = max(best, right / len(held_out.dataset))
    return best, spent


def yolo(folder: Path, minutes: float, seed: int) -> tuple[float, float]:
    """Train yolo11n-cls from scratch with its own defaults, at 96×96."""
    from ultralytics import YOLO

    data = folder / "yolo"
    if not data.exists():
        data.mkdir()
        (data / "train").symlink_to(folder / "train")
        (data / "val").symlink_to(folder / "validation")
    begun = time.perf_counter()
    model = YOLO("yolo11n-cls.yaml")
    model.train(
        data=str(data),
        imgsz=96,
        batch=32,
        time=minutes / 60,
        epochs=1000,
        seed=seed,
        verbose=False,
        workers=2,
    )
    return float(model.trainer.best_fitness), time.perf_counter() - begun


CONTENDERS: dict[str, Callable[[Path, float, int], tuple[float, float]]] = {
    "imgtrain": imgtrain,
    "script": script,
    "resnet18": resnet18,
    "yolo11n-cls": yolo,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 1, 3, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=";".join(CONTENDERS), help="contenders, separated by ;")
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        accuracy, seconds = CONTENDERS[options.contender](options.folder, options.minutes[0], options.seed)
        print(f"RESULT {accuracy} {seconds}")
        raise SystemExit
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(options.folder, folder)
        print(f"{'':14} {'minutes':>8} {'accuracy, median (lowest–highest)':>36} {'seconds':>9}")
        for minutes in options.minutes:
            for name in options.only.split(";"):
                results = []
                for seed in range(options.seeds):
                    arguments = [str(folder), "--minutes", str(minutes), "--as", name, "--seed", str(seed)]
                    done = subprocess.run(
                        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
                    )
                    if done.returncode:
                        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
                    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
                    results.append(tuple(map(float, line.split()[1:])))
                scores, seconds = zip(*results, strict=True)
                told = f"{statistics.median(scores):.1%} ({min(scores):.1%}–{max(scores):.1%})"
                print(f"{name:14} {minutes:>8g} {told:>36} {statistics.median(seconds):>9.0f}", flush=True)
