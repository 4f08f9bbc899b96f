"""The audit finds the leaks that training finds, in the same splits, however the data is divided."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgtrain.audit.check import check
from imgtrain.audit.duplicates import check_duplicates, find_duplicates
from imgtrain.audit.inventory import take_inventory
from imgtrain.config.load import load_config, parse_config
from imgtrain.config.schema import Config
from imgtrain.dataset.split import split_data
from imgtrain.errors import DataError
from imgtrain.events import Message
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import Images, decode_splits, draw_splits, load_images

# How many images leak from where, as both say it.
_LEAK = re.compile(r"\d+ of \d+ \w+ images? ha(?:ve|s) the same pixels as an? [\w. ]+")


def make_folders(root: Path) -> None:
    """Make folders in which some pictures of data.train are in all of them, and some several times."""
    rng = np.random.default_rng(0)
    for name in ("train", "validation", "test"):
        for class_name in "ab":
            (root / name / class_name).mkdir(parents=True)
            for number in range(12):
                picture = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
                picture.save(root / name / class_name / f"{number:02d}.png")
    for number in range(4):
        shutil.copy(root / f"train/a/0{number}.png", root / f"train/a/twin{number}.png")
        shutil.copy(root / f"train/a/0{number}.png", root / f"test/a/copy{number}.png")
    Image.open(root / "train/b/03.png").save(root / "test/a/other_class.bmp")
    for name in ("validation", "test"):
        shutil.copy(root / "train/b/05.png", root / name / "b/everywhere.png")
    for number in range(3):
        shutil.copy(root / f"validation/b/0{number}.png", root / f"test/b/validation{number}.png")
    files = sorted(root.glob("*/*/*"))
    rows = [f"{file},{file.relative_to(root).parts[0]}" for file in files]
    (root / "splits.csv").write_text("\n".join(["path,split", *rows]))


def load(config: Config) -> tuple[Images | None, list[str]]:
    """Load as training does; return the images, and what it said or raised."""
    events: list[Any] = []
    try:
        images = load_images(config, split_data(config), events.append)
    except DataError as error:
        return None, [problem.what for problem in error.problems]
    return images, [event.text for event in events if isinstance(event, Message)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("leaks")
    make_folders(root)
    return root


@pytest.mark.parametrize("on_leak", ["error", "drop", "warn"])
@pytest.mark.parametrize(
    "division",
    [
        {},
        {"validation": "validation"},
        {"validation_split": 0.25},
        {"validation": "validation", "split_file": "splits.csv"},
    ],
    ids=["test", "validation", "drawn", "file"],
)
def test_the_audit_says_what_training_says(root: Path, division: dict[str, Any], on_leak: str) -> None:
    paths = {"train": "train", "test": "test", **division}
    data = {key: str(root / value) if isinstance(value, str) else value for key, value in paths.items()}
    data |= {"target_size": [8, 8], "cache_directory": str(root / "cache"), "on_leak": on_leak}
    config = parse_config({"data": data})
    images, said = load(config)

    splits = split_data(config)
    settings = DecodeSettings.of(config.data)
    stores = decode_splits(splits, settings, cache="auto", cache_directory=root / "cache")
    splits = draw_splits(splits, stores)
    inventory = take_inventory(splits, stores)
    findings = check_duplicates(inventory, splits, find_duplicates(inventory), on_leak=on_leak)
    leaks = [finding for finding in findings if finding.code == "leak"]

    found = {match[0] for finding in leaks if (match := _LEAK.match(finding.what))}
    told = {match[0] for text in said if (match := _LEAK.match(text))}
    known = "a training image" if "split_file" in division else "an image of data.train"
    assert f"6 of 33 test images have the same pixels as {known}" in found
    assert (images is None) == (on_leak == "error")
    if images is None:
        assert told <= found, "training stops at the first that it does not accept"
    else:
        assert told == found
    severities = {finding.what: finding.severity for finding in leaks}
    assert ("error" in severities.values()) == (on_leak == "error")
    for finding in leaks:
        copies = [set(item.paths) for item in finding.items]
        assert all(len(paths) > 1 for paths in copies)
        if "6 of 33" in finding.what:
            assert {f"test/a/copy{number}.png" for number in range(4)} <= set().union(*copies)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a configuration of folders with leaks and of undecodable files."""
    make_folders(tmp_path)
    for name in ("train", "test"):
        (tmp_path / name / "a/bad.png").write_bytes(b"")

    def write(**data: str) -> Path:
        given = {"train": "train", "test": "test", "on_bad_image": "skip", "target_size": "[8, 8]", **data}
        path = tmp_path / "c.yaml"
        section = "".join(f"  {key}: {value}\n" for key, value in given.items())
        path.write_text(
            f"data:\n{section}  cache_directory: {tmp_path}/cache\ntraining: {{early_stopping: null}}\n"
            "model: {layers: [GlobalAveragePooling2D]}\n"
        )
        return path

    return write


def test_the_audit_counts_the_images_of_a_drawn_split(config: Callable[..., Path]) -> None:
    path = config(validation_split="0.25", on_leak="drop")
    report = check(path)
    images, _ = load(load_config(path))
    assert images is not None
    assert images.validation is not None
    # Undecodable files are in the splits that the audit counts, and not in those that are trained on.
    for part in (images.train, images.validation):
        assert report.images[part.split.name] == len(part.split) + len(part.skipped)
    (leak,) = (finding for finding in report.findings if finding.code == "leak")
    assert leak.what == "6 of 33 test images have the same pixels as an image of data.train"
    assert leak.severity == "warning"
    assert "drops them" in leak.harm


def test_a_split_that_drop_empties_is_an_error_in_both(config: Callable[..., Path], tmp_path: Path) -> None:
    for file in tmp_path.glob("test/*/*"):
        if not file.stem.startswith(("copy", "bad")):
            file.unlink()
    shutil.copy(tmp_path / "train/b/00.png", tmp_path / "test/b")
    path = config(on_leak="drop")
    images, said = load(load_config(path))
    assert images is None
    assert said == ["no test images remain: `data.on_leak: drop` drops all 5"]
    assert [finding.what for finding in check(path).findings if finding.severity == "error"] == said


def test_a_split_that_cannot_be_drawn_is_an_error_in_both(
    config: Callable[..., Path], tmp_path: Path
) -> None:
    for name in "ab":
        for file in sorted((tmp_path / "train" / name).iterdir())[1:]:
            file.unlink()
        shutil.copy(tmp_path / f"train/{name}/00.png", tmp_path / f"train/{name}/twin.png")
    path = config(validation_split="0.5", on_leak="warn")
    images, said = load(load_config(path))
    assert images is None
    (what,) = said
    assert what.startswith(
        "cannot hold out validation images: every class has only one distinct image, not counting"
    )
    errors = [finding for finding in check(path).findings if finding.severity == "error"]
    assert [(error.code, error.what) for error in errors] == [
        ("layout", f"{path}:6: data.validation_split: {what}")
    ]
