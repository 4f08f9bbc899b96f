"""Training on few images with a backbone that was trained on other images, compared with random weights.

    python benchmarks/backbone.py FOLDER [--seeds 5] [--epochs 30]

FOLDER contains one folder of images per class. A fifth is for validation, a tenth of the rest for training, and the
remaining images train the backbone once. Then the same network is trained on the tenth with each seed: from random
weights, with the backbone frozen, and with the backbone trained as well. Reported are the validation accuracy after
the last epoch, and the epochs and time until the mean final accuracy of the network from random weights is reached; the
time is that of training and validation, without the first epoch, in which TensorFlow traces the graphs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from imgtrain.config import parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.compile import compile_network
from imgtrain.model.precision import choose_precision
from imgtrain.model.runtime import start
from imgtrain.training.fit import fit
from imgtrain.training.history import History
from imgtrain.workflows.library import open_batches

SIDE = 64
LAYERS: list[Any] = [
    layer
    for filters in (16, 32, 64, 128)
    for layer in (
        {"Conv2D": {"filters": filters, "kernel_size": 3, "padding": "same", "use_bias": False}},
        {"MaxPooling2D": 2},
        {"BatchNormalization": {"momentum": 0.9}},
        "ReLU",
    )
]
VARIANTS: dict[str, dict[str, Any]] = {
    "random weights": {"layers": [*LAYERS, "GlobalAveragePooling2D", {"Dropout": 0.2}]},
    "frozen backbone": {"backbone": {"trainable": False}},
    "trained backbone": {"backbone": {"trainable": True}},
}


def lay_out(source: Path, folder: Path) -> None:
    """Copy the images into folders for the backbone, training and validation."""
    rng = np.random.default_rng(0)
    for images in sorted(path for path in source.iterdir() if path.is_dir()):
        files = rng.permutation(sorted(images.iterdir()))
        fifth = len(files) // 5
        tenth = fifth + (len(files) - fifth) // 10
        parts = {"validation": files[:fifth], "tenth": files[fifth:tenth], "others": files[tenth:]}
        for part, chosen in parts.items():
            (folder / part / images.name).mkdir(parents=True)
            for file in chosen:
                shutil.copy(file, folder / part / images.name)


def train(
    folder: Path, images: str, network: dict[str, Any], *, epochs: int, seed: int
) -> tuple[History, Any]:
    """Return the history of a training, and the network that would be saved."""
    config = parse_config(
        {
            "data": {
                "train": str(folder / images),
                "validation": str(folder / "validation"),
                "target_size": [SIDE, SIDE],
            },
            "model": network,
            **({"preprocessing": {"rescale": 1}} if "backbone" in network else {}),
            "training": {
                "epochs": epochs,
                "optimizer": {"name": "adamw", "learning_rate": 0.003, "weight_decay": 0.05},
                "schedule": "cosine",
                "early_stopping": None,
                "seed": seed,
            },
        }
    )
    start(seed)
    data = open_batches(make_plan(config))
    precision = choose_precision("auto").name
    model = build_network(
        config,
        class_count=len(data.plan.class_names),
        statistics=None,
        precision=precision,
        for_training=True,
    )
    compile_network(model, config, precision=precision, for_training=True)
    history = fit(model, data.train.batches, data.validation.batches, config.training)
    return history, float32_copy(model, config)


def accuracies(history: History) -> list[float]:
    return [epoch.logs["val_accuracy"] for epoch in history.epochs]


def interval(values: Sequence[float]) -> str:
    """Return the mean and its 95 % confidence interval."""
    mean = statistics.mean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def report(histories: dict[str, list[History]]) -> None:
    goal = statistics.mean(accuracies(history)[-1] for history in histories["random weights"])
    seconds: dict[str, list[float]] = {}
    print(f"goal: accuracy {goal:.3f}")
    for name, found in histories.items():
        needed = [
            next((n for n, value in enumerate(accuracies(one), 1) if value >= goal), None) for one in found
        ]
        per_epoch = [statistics.median(epoch.seconds for epoch in one.epochs[1:]) for one in found]
        seconds[name] = [
            (count or len(one.epochs)) * time
            for count, time, one in zip(needed, per_epoch, found, strict=True)
        ]
        print(
            f"{name:16} accuracy {interval([accuracies(one)[-1] for one in found])}; epochs to the goal "
            f"{', '.join('never' if count is None else str(count) for count in needed)}; "
            f"seconds {', '.join(f'{value:.2f}' for value in seconds[name])}",
            flush=True,
        )
    for name in list(histories)[1:]:
        ratios = [slow / fast for slow, fast in zip(seconds["random weights"], seconds[name], strict=True)]
        logs = np.log(ratios)
        half = float(t.ppf(0.975, len(logs) - 1)) * float(logs.std(ddof=1)) / len(logs) ** 0.5
        low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
        print(f"{name}: {middle:.1f} times faster to the goal, 95 % CI [{low:.1f}, {high:.1f}]")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--backbone-epochs", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lay_out(options.folder, folder)
        network = VARIANTS["random weights"]
        history, model = train(folder, "others", network, epochs=options.backbone_epochs, seed=0)
        model.save(folder / "backbone.keras")
        print(f"backbone: accuracy {accuracies(history)[-1]:.3f}", flush=True)
        histories: dict[str, list[History]] = {name: [] for name in VARIANTS}
        for seed in range(options.seeds):
            for name, variant in VARIANTS.items():
                chosen = dict(variant)
                if "backbone" in chosen:
                    chosen["backbone"] = {**chosen["backbone"], "from": str(folder / "backbone.keras")}
                history, _ = train(folder, "tenth", chosen, epochs=options.epochs, seed=seed)
                histories[name].append(history)
        report(histories)


if __name__ == "__main__":
    main()
