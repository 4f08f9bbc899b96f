"""The recipes in configs/: each is valid, and trains on small folders of the shape that it is for."""

import csv
import json

import pytest
from repository import REPOSITORY

from imgtrain.config import load_config

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
FOLDERS = {
    "skin-lesions": {
        split: {"benign": n, "malignant": n} for split, n in {"train": 10, "validation": 4, "test": 4}.items()
    },
    "mri-tumours": {
        "Training": {"glioma_tumor": 9, "meningioma_tumor": 8, "no_tumor": 4, "pituitary_tumor": 9},
        "Testing": {"glioma_tumor": 3, "meningioma_tumor": 3, "no_tumor": 3, "pituitary_tumor": 3},
    },
    "horses-or-humans": {split: {"horses": 6, "humans": 6} for split in ("train", "validation")},
    "hand-signs": {
        split: dict.fromkeys("ABCDEFGHIKLMNOPQRSTUVWXY", 2) for split in ("train", "validation", "test")
    },
    "sparse-split": {".": {"daisy": 10, "rose": 15, "tulip": 10}},
}
SPLIT_KEYS = {"Training": "train", "Testing": "test", ".": "train"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_is_valid(path):
    config = load_config(path)
    assert config.data.train.is_absolute()


def test_every_configuration_but_the_sample_is_trained_here():
    assert {path.stem for path in CONFIGS} == {*FOLDERS, "sample"}


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_recipe_trains(name, imgtrain, make_folders, tmp_path):
    make_folders(tmp_path, FOLDERS[name], side=40)
    folders = {SPLIT_KEYS.get(split, split): tmp_path / split for split in FOLDERS[name]}
    overrides = [f"data.{key}={folder}" for key, folder in folders.items()]
    overrides += ["training.epochs=2", "data.batch_size=8"]
    done = imgtrain(
        "train",
        REPOSITORY / f"configs/{name}.yaml",
        "--output",
        tmp_path / "run",
        *[part for override in overrides for part in ("--set", override)],
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["class_names"] == sorted(next(iter(FOLDERS[name].values())))
    with (tmp_path / "run/history.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert ("test" in metrics) == ("test" in folders)


@pytest.mark.tensorflow
def test_oversampling_draws_the_small_class_as_often_as_the_largest(imgtrain, make_folders, tmp_path):
    """What scripts do by hand for a rare class: its images are augmented until the classes are even."""
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.workflows.library import open_batches

    make_folders(tmp_path, {"Training": {"no_tumor": 4, "tumor": 11}})
    plan = make_plan(
        parse_config(
            {
                "data": {
                    "train": str(tmp_path / "Training"),
                    "target_size": [16, 16],
                    "balance": "oversample",
                    "cache": "memory",
                },
                "augmentation": {"rotation_range": 20},
            }
        )
    )
    images, labels = open_batches(plan).train.batches.to_arrays()
    assert labels.sum(axis=0).tolist() == [11, 11]
    small = images[labels[:, 0] == 1]
    assert len({image.tobytes() for image in small}) == 11
