"""The blocks of docs/tutorials.md run as they are written, on small drawn images and with fewer epochs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from repository import REPOSITORY

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

PAGE = (REPOSITORY / "docs/tutorials.md").read_text(encoding="utf-8")
BLOCKS = {
    re.search(r'"configs/([\w-]+)\.yaml"', block)[1]: block
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}
EPOCHS = re.compile(r"epochs=\d+")

FOLDERS = {
    "skin-lesions": ("skin", {"train": 8, "validation": 4, "test": 4}, ("benign", "malignant")),
    "mri-tumours": (
        "mri",
        {"Training": 10, "Testing": 2},
        ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"),
    ),
    "horses-or-humans": ("horse-or-human", {"train": 6, "validation": 3}, ("horses", "humans")),
    "hand-signs": ("hand-signs", {"train": 2, "validation": 1, "test": 1}, "ABCDEFGHIKLMNOPQRSTUVWXY"),
    "sparse-split": (".", {"images": 15}, ("daisy", "rose", "tulip")),
}


@pytest.fixture
def run_block(
    make_folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs the block of a configuration and returns its variables."""

    def run(name: str) -> dict[str, Any]:
        folder, counts, class_names = FOLDERS[name]
        splits = {split: dict.fromkeys(class_names, count) for split, count in counts.items()}
        make_folders(tmp_path / "data" / folder, splits, side=40)
        shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
        Image.fromarray(np.full((50, 40, 3), 90, np.uint8)).save(tmp_path / "photo.jpg")
        monkeypatch.chdir(tmp_path)
        block, replaced = EPOCHS.subn("epochs=2", BLOCKS[name])
        assert replaced
        variables: dict[str, Any] = {"__name__": name}
        exec(compile(block, f"docs/tutorials.md ({name})", "exec"), variables)
        return variables

    return run


def test_every_tutorial_is_run_here() -> None:
    assert set(BLOCKS) == set(FOLDERS)


def test_binary_with_a_generator_per_split_saved_as_h5(
    run_block: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    found = run_block("skin-lesions")
    batches, model, loaded = found["batches"], found["model"], found["loaded_model"]
    assert [len(part.classes) for part in (batches.train, batches.validation, batches.test)] == [16, 8, 8]
    assert batches.train.class_indices == {"benign": 0, "malignant": 1}
    assert model.loss.name == "binary_crossentropy"
    names = [type(layer).__name__ for layer in model.layers]
    blocks = ["Conv2D", "MaxPooling2D", "Dropout"] * 2
    assert names[-10:] == [*blocks, "Flatten", "Dense", "Dropout", "Dense"]
    assert 0 <= found["test_accuracy"] <= 1
    assert (tmp_path / "skin.h5").is_file()
    images, labels = batches.test[0]
    assert labels.shape == (8, 1)
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_categorical_with_augmented_batches_to_look_at(
    run_block: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    found = run_block("mri-tumours")
    images, labels = found["images"], found["labels"]
    assert images.dtype == np.uint8
    assert images.shape == (32, 150, 150, 3)
    assert labels.shape == (32, 4)
    assert (labels.sum(axis=1) == 1).all()
    train = found["train_generator"]
    again, _ = next(train)  # of a later epoch: other images, augmented differently
    assert not np.array_equal(images, again)
    assert len(found["history"].history["val_accuracy"]) == 2
    with Image.open(tmp_path / "augmented.png") as sheet:
        assert sheet.width == sheet.height == 1000


def test_a_complete_binary_run_and_the_prediction_of_one_image(
    run_block: Callable[[str], dict[str, Any]],
) -> None:
    found = run_block("horses-or-humans")
    assert found["config"].training.optimizer.name == "RMSprop"
    assert found["result"].directory.name == "horses-or-humans"
    predictions = found["predictions"]
    assert predictions.paths == ["photo.jpg"]
    assert predictions.predicted[0] in ("horses", "humans")
    assert 0.5 <= predictions.probability[0] <= 1


def test_many_classes_and_a_custom_generator(run_block: Callable[[str], dict[str, Any]]) -> None:
    found = run_block("hand-signs")
    assert found["images"].shape == (48, 224, 224, 3)
    assert found["labels"].shape == (48, 24)
    assert len(found["H"].history["val_loss"]) == 2


def test_one_folder_with_a_split_and_integer_labels_in_memory(
    run_block: Callable[[str], dict[str, Any]],
) -> None:
    found = run_block("sparse-split")
    pixels, labels = found["X_train"], found["y_train"]
    assert pixels.shape == (36, 150, 150, 3)
    assert labels.shape == (36,)
    assert np.issubdtype(labels.dtype, np.integer)
    assert np.bincount(labels).tolist() == [12, 12, 12]
    assert len(found["validation_generator"].classes) == 9
    # The loop has seen every image once, as `to_arrays` has.
    arrays, _ = found["train_generator"].batches.to_arrays()
    assert {image.tobytes() for image in pixels} == {image.tobytes() for image in arrays}
    assert len({image.tobytes() for image in pixels}) == 36
