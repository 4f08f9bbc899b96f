"""Accuracy that a time budget buys: what `imgtrain init` writes, unedited, beside other ways to train from scratch.

    python benchmarks/recipe.py FOLDER [--minutes 0.5 1 3 10] [--seeds 3] [--only "imgtrain;…"]
    python benchmarks/recipe.py FOLDER --minutes 0.5 1 3 10 --plan
    python benchmarks/recipe.py FOLDER --minutes 0.5 1 3 10 --epochs 15 24 55 110 --only imgtrain

FOLDER contains one folder of images per class. Every fifth image of a class is held out and scored; the others are
trained on. The held-out images are also those that the best epoch is chosen on, for every contender. Contenders run one
after the other, each in a process of its own.

`--plan` times each budget's network and prints how many epochs fit; the fastest of three measurements counts.
`--epochs` trains for these numbers instead of timing: accuracy depends on the epochs only, so the runs can share the
machine with other work. `--set KEY=VALUE` changes imgtrain's configuration, to measure what a choice gives;
`--held-out 1` to `4` hold out other images.

Needs `pip install torch` for resnet18, which is written out below because torchvision has no builds for every machine,
and `ultralytics` for YOLO.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import peers

_SECONDS_TO_START = 1.0
# Other work can only make a measurement slower, so the fastest one is closest to that of an undisturbed machine.
_MEASUREMENTS = 3


def lay_out(source: Path, target: Path, *, first: int) -> None:
    """Copy every fifth image of a class, beginning with `first`, to `validation` and the others to `train`."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        for number, file in enumerate(sorted(folder.iterdir())):
            place = target / ("train" if (number - first) % 5 else "validation") / folder.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def propose(folder: Path, minutes: float) -> Path:
    """Return the configuration that `init` writes."""
    config = folder / f"config-{minutes:g}.yaml"
    command = [sys.executable, "-m", "imgtrain", "init", folder, "-o", config, "--overwrite", "--quiet"]
    subprocess.run([*command, "--minutes", str(minutes)], check=True)
    return config


def plan(folder: Path, minutes: float) -> tuple[str, int]:
    """Return the image size, and the number of epochs that fit into the budget with their validation."""
    from imgtrain.config import load_config
    from imgtrain.workflows.measure_training import measure_training

    config = propose(folder, minutes)
    height, width = load_config(config, []).data.target_size
    measured = [measure_training(config, ["data.on_leak=warn"]) for _ in range(_MEASUREMENTS)]
    seconds = min(each.epoch_seconds for each in measured if each is not None)
    return f"{height}×{width}", int((60 * minutes - _SECONDS_TO_START) / seconds)


def imgtrain(
    folder: Path, minutes: float, seed: int, *, epochs: int | None = None, changes: Sequence[str] = ()
) -> tuple[float, float]:
    """Return accuracy and seconds of training of what `init` writes."""
    config, run = propose(folder, minutes), folder / f"run-{minutes:g}-{seed}"
    settings = [f"training.seed={seed}", "data.on_leak=warn", *changes]
    if epochs is not None:
        settings += ["training.minutes=null", f"training.epochs={epochs}"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "imgtrain", "train", config, *overrides, "-o", run]
    subprocess.run([*command, "--overwrite", "--quiet"], check=True)
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


def make_resnet18(classes: int) -> Any:
    """Return the layers of torchvision's `resnet18`, with its initialization."""
    import torch
    from torch import nn

    def convolve(channels: int, filters: int, kernel: int, stride: int) -> list[Any]:
        layer = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        return [layer, nn.BatchNorm2d(filters)]

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.path = nn.Sequential(
                *convolve(channels, filters, 3, stride),
                nn.ReLU(inplace=True),
                *convolve(filters, filters, 3, 1),
            )
            same = channels == filters and stride == 1
            self.shortcut = nn.Identity() if same else nn.Sequential(*convolve(channels, filters, 1, stride))

        def forward(self, inputs: Any) -> Any:
            return torch.relu(self.path(inputs) + self.shortcut(inputs))

    stem = [*convolve(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [Block(before, after, 1 if before == after else 2) for before, after in pairwise(widths)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes)]
    return nn.Sequential(*stem, *blocks, *head)


class ImageFolder:
    """torchvision's `ImageFolder` and standard augmentation at 96×96, by the same Pillow functions."""

    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, folder: Path, *, augment: bool) -> None:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        self.files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]
        self.classes, self.augment = len(classes), augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import numpy as np
        import torch
        from PIL import Image

        file, label = self.files[index]
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        if self.augment:
            image = image.resize((96, 96), Image.Resampling.BILINEAR, self._random_box(*image.size))
            if torch.rand(()) < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        else:
            # Resize(110) and CenterCrop(96).
            left, top = (side * (1 - 96 / 110 * min(image.size) / side) / 2 for side in image.size)
            box = (left, top, image.width - left, image.height - top)
            image = image.resize((96, 96), Image.Resampling.BILINEAR, box)
        pixels = (np.asarray(image, np.float32) / 255 - self.MEAN) / self.DEVIATION
        return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1), label

    @staticmethod
    def _random_box(width: int, height: int) -> tuple[float, float, float, float]:
        """Draw like `RandomResizedCrop`: 8 to 100 % of the area, sides in a ratio of 3:4 to 4:3."""
        import torch

        for _ in range(10):
            area = width * height * float(torch.empty(()).uniform_(0.08, 1))
            ratio = (4 / 3) ** float(torch.empty(()).uniform_(-1, 1))
            wide, high = (area * ratio) ** 0.5, (area / ratio) ** 0.5
            if wide <= width and high <= height:
                left, top = float(torch.rand(())) * (width - wide), float(torch.rand(())) * (height - high)
                return left, top, left + wide, top + high
        return 0, 0, width, height


def resnet18(folder: Path, minutes: float, seed: int) -> tuple[float, float]:
    """Train resnet18 from scratch with torchvision's standard augmentation, at 96×96 in bfloat16."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    train = ImageFolder(folder / "train", augment=True)
    loader = torch.utils.data.DataLoader(train, 32, shuffle=True, num_workers=2, persistent_workers=True)
    held_out = torch.utils.data.DataLoader(ImageFolder(folder / "validation", augment=False), 128)
    model = make_resnet18(train.classes).to(memory_format=torch.channels_last)
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


CONTENDERS: dict[str, Callable[..., tuple[float, float]]] = {
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
    parser.add_argument("--epochs", type=int, nargs="+", help="of imgtrain, one number for each budget")
    parser.add_argument("--set", action="append", default=[], help="change a key of imgtrain's configuration")
    parser.add_argument("--held-out", type=int, default=0, help="first held-out image of a class, 0 to 4")
    parser.add_argument("--plan", action="store_true", help="print the epochs that fit, and stop")
    parser.add_argument("--as", dest="contender", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        given: dict[str, Any] = {}
        if options.contender == "imgtrain":
            given = {"epochs": options.epochs[0] if options.epochs else None, "changes": options.set}
        train = CONTENDERS[options.contender]
        accuracy, seconds = train(options.folder, options.minutes[0], options.seed, **given)
        print(f"RESULT {accuracy} {seconds}")
        raise SystemExit
    if options.epochs and (len(options.epochs) != len(options.minutes) or options.only != "imgtrain"):
        parser.error("--epochs takes one number for each of --minutes, and --only imgtrain")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(options.folder, folder, first=options.held_out)
        count = sum(1 for path in (folder / "validation").rglob("*") if path.is_file())
        print(f"{options.folder.name}: {count} held-out images, {options.seeds} seeds")
        if options.plan:
            for minutes in options.minutes:
                print(f"{minutes:>8g} minutes: {plan(folder, minutes)}", flush=True)
            raise SystemExit
        print(f"{'':14} {'minutes':>8} {'accuracy, median (lowest–highest)':>36} {'seconds':>9}")
        for number, minutes in enumerate(options.minutes):
            for name in options.only.split(";"):
                results = []
                for seed in range(options.seeds):
                    arguments = [str(folder), "--minutes", str(minutes), "--as", name, "--seed", str(seed)]
                    if options.epochs:
                        arguments += ["--epochs", str(options.epochs[number])]
                    arguments += [f"--set={change}" for change in options.set]
                    done = subprocess.run(
                        [sys.executable, __file__, *arguments], capture_output=True, text=True, check=False
                    )
                    if done.returncode:
                        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
                    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
                    results.append(tuple(map(float, line.split()[1:])))
                    print(f"  {name}, seed {seed}: {results[-1][0]:.4f}", file=sys.stderr, flush=True)
                scores, seconds = zip(*results, strict=True)
                told = f"{statistics.median(scores):.1%} ({min(scores):.1%}–{max(scores):.1%})"
                spent = f"{statistics.median(seconds):.0f}"
                if options.epochs:
                    spent = f"{options.epochs[number]} epochs"
                print(f"{name:14} {minutes:>8g} {told:>36} {spent:>9}", flush=True)
