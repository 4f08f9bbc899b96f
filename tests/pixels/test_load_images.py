"""Leaks are looked for between the folders as they are on disk, not only between the splits made of them."""

import shutil

import pytest

from imgtrain.config.load import parse_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import DataError
from imgtrain.pixels.load_images import load_images


@pytest.fixture
def gather(image_folders, tmp_path):
    train = image_folders({"a": 10, "b": 10}, root="train")
    image_folders({"a": 3, "b": 3}, root="validation", seed=1)
    image_folders({"a": 3, "b": 3}, root="test", seed=2)

    def gather(**data):
        folders = {
            "train": str(train),
            "test": str(tmp_path / "test"),
            "cache": "memory",
            "target_size": [8, 8],
        }
        config = parse_config({"data": {**folders, **data}})
        events = []
        images = load_images(config, split_data(config), events.append)
        return images, [event.text for event in events if getattr(event, "severity", "") == "warning"]

    gather.root = tmp_path
    return gather


def test_a_copy_of_a_held_out_image_is_a_leak_too(gather):
    images, warnings = gather(validation_split=0.5)
    assert not warnings
    held_out = images.validation.split.paths[0]
    shutil.copy(gather.root / "train" / held_out, gather.root / "test" / "a" / "copy.png")
    with pytest.raises(DataError, match="1 of 7 test images have the same pixels as a validation image"):
        gather(validation_split=0.5)
    _, warnings = gather(validation_split=0.5, on_leak="warn")
    assert "a/copy.png" in warnings[0]


def test_a_test_image_in_a_validation_folder_of_its_own_is_told(gather):
    shutil.copy(gather.root / "validation/a/00.png", gather.root / "test/a/copy.png")
    _, warnings = gather(validation=str(gather.root / "validation"))
    assert "test images have the same pixels as a validation image" in warnings[0]
