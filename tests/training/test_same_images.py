"""A run is resumed with the images that it was trained on, in the same splits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imgtrain.config.load import parse_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import DataError
from imgtrain.pixels.load_images import Images, load_images
from imgtrain.run.run_directory import RunDirectory
from imgtrain.training.checkpoint_store import Checkpoint
from imgtrain.training.resume import EarlierRun, validate_same_images


@pytest.fixture
def load(image_folders: Callable[..., Path]) -> Callable[[], Images]:
    """Return a function that loads a folder with three twins and a drawn validation split."""
    train = image_folders({"a": 8, "b": 8}, root="train")
    for number in range(3):
        shutil.copy(train / f"a/0{number}.png", train / f"a/twin{number}.png")
    config = parse_config(
        {
            "data": {
                "train": str(train),
                "validation_split": 0.5,
                "cache": "memory",
                "target_size": [4, 4],
            }
        }
    )
    return lambda: load_images(config, split_data(config))


def earlier_run(path: Path, images: Images, *, fingerprint: str) -> tuple[EarlierRun, RunDirectory]:
    run = RunDirectory(path)
    path.mkdir(exist_ok=True)
    run.data.write_text(json.dumps(images.describe()))
    return EarlierRun({}, Checkpoint({"data_fingerprint": fingerprint}, {}, {})), run


def test_the_same_images_are_accepted(load: Callable[[], Images], tmp_path: Path) -> None:
    images = load()
    earlier, run = earlier_run(tmp_path / "run", images, fingerprint=images.fingerprint())
    again = load()
    validate_same_images(earlier, run, again.fingerprint(), again.describe)


def test_a_split_that_divided_equal_images_is_told_apart_from_other_images(
    load: Callable[[], Images], tmp_path: Path
) -> None:
    images = load()
    earlier, run = earlier_run(tmp_path / "run", images, fingerprint="sha256:of-another-draw")
    described = json.loads(run.data.read_text())
    splits = described["splits"]
    splits["validation"]["images"].append(splits["train"]["images"].pop())
    run.data.write_text(json.dumps(described))
    with pytest.raises(DataError) as caught:
        validate_same_images(earlier, run, images.fingerprint(), images.describe)
    assert "on the same images, but with a different validation split" in str(caught.value)
    assert "keeps images with identical pixels together: start a new run with --output" in str(caught.value)

    splits["train"]["images"].pop()
    run.data.write_text(json.dumps(described))
    with pytest.raises(DataError, match="was trained on different images") as caught:
        validate_same_images(earlier, run, images.fingerprint(), images.describe)
    assert "restore the images" in str(caught.value)
