"""Train the network of a finished run with ImageDataGenerator and `model.fit` on the same split.

    python benchmarks/same_split_script.py runs/signs

Prints the accuracy of the run and of the script on the same validation images, and the speed of both. The network, its
initial weights, the optimizer and early stopping are the same. The random numbers of the augmentation differ, and the
script swaps width and height shifts, as Keras does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from imgtrain.config import load_config
from imgtrain.config.schema import PreprocessingConfig
from imgtrain.model.build import build_network
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import keras, start


def lay_out(splits: dict, folder: Path) -> None:
    """Create folders of links, so that `flow_from_directory` uses the run's split."""
    for name, split in splits.items():
        for number, image in enumerate(split["images"]):
            place = folder / name / image["class"]
            place.mkdir(parents=True, exist_ok=True)
            source = Path(split["folder"]) / image["path"]
            (place / f"{number:06d}{source.suffix}").symlink_to(source)


def train_with_keras(run: Path) -> dict[str, float]:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    config = load_config(run / "config.yaml")
    start(config.training.seed)
    splits = json.loads((run / "data.json").read_text())["splits"]
    augmentation = config.augmentation.model_dump(exclude={"interpolation_order"})
    stopping = config.training.early_stopping
    with tempfile.TemporaryDirectory() as folder:
        lay_out(splits, Path(folder))
        flow = {
            "target_size": config.data.target_size,
            "class_mode": config.data.class_mode,
            "batch_size": config.data.batch_size,
            "interpolation": config.data.interpolation,
        }
        train = ImageDataGenerator(
            rescale=1 / 255, **augmentation, interpolation_order=1
        ).flow_from_directory(f"{folder}/train", seed=config.training.seed, **flow)
        validation = ImageDataGenerator(rescale=1 / 255).flow_from_directory(
            f"{folder}/validation", shuffle=False, **flow
        )
        # The script rescales outside the model.
        raw = config.model_copy(update={"preprocessing": PreprocessingConfig(rescale=1.0)})
        model = build_network(raw, class_count=train.num_classes, statistics=None)
        compile_network(model, config)
        weights = None
        if config.training.class_weight == "balanced":
            counts = [list(train.classes).count(label) for label in range(train.num_classes)]
            weights = {label: train.n / (len(counts) * count) for label, count in enumerate(counts)}
        seconds: list[float] = []
        began = time.perf_counter()
        model.fit(
            train,
            validation_data=validation,
            epochs=config.training.epochs,
            class_weight=weights,
            verbose=0,
            callbacks=[
                keras.callbacks.EarlyStopping(**stopping.model_dump()),
                keras.callbacks.LambdaCallback(
                    on_epoch_end=lambda *_: seconds.append(time.perf_counter() - began)
                ),
            ],
        )
        loss, accuracy = model.evaluate(validation, verbose=0)
        return {
            "accuracy": accuracy,
            "loss": loss,
            "epochs": len(seconds),
            "seconds_per_epoch": seconds[-1] / len(seconds),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    directory = parser.parse_args().run
    here = json.loads((directory / "metrics.json").read_text())["validation"]
    facts = json.loads((directory / "run.json").read_text())
    rows = [line.split(",") for line in (directory / "history.csv").read_text().splitlines()[1:]]
    mean = sum(float(row[1]) for row in rows) / len(rows)
    print(
        f"imgtrain: accuracy {here['accuracy']:.4f}, loss {here['loss']:.4f}, "
        f"{facts['epochs_run']} epochs of {mean:.1f} s"
    )
    usual = train_with_keras(directory)
    print(
        f"script:   accuracy {usual['accuracy']:.4f}, loss {usual['loss']:.4f}, "
        f"{usual['epochs']} epochs of {usual['seconds_per_epoch']:.1f} s"
    )
