"""Pictures that are in two splits: found, refused, dropped; and never in a split that imgtrain draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgtrain.config.schema import Config
from imgtrain.dataset.index import ImageFolder, index_folder, make_image_folder
from imgtrain.dataset.split import Holdout, Split, Splits
from imgtrain.dataset.walk import FoundFile
from imgtrain.errors import DataError
from imgtrain.events import Message
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.image_stats import IMAGE_STATS
from imgtrain.pixels.image_store import open_image_store
from imgtrain.pixels.leaks import find_equal_pictures, find_leaks, pictures_of_splits
from imgtrain.pixels.load_images import Images, load_images

SETTINGS = DecodeSettings(4, 4)
FOLDER_NAMES = ("train", "validation", "test")


def whole(name: str, folder: ImageFolder) -> Split:
    return Split(name, folder, np.arange(len(folder)))


def test_the_same_picture_in_another_format_and_class_is_found(image_folders: Callable[..., Path]) -> None:
    train_root = image_folders({"a": 4, "b": 4}, "train", 1)
    test_root = image_folders({"a": 3, "b": 3}, "test", 2)
    Image.open(train_root / "a" / "02.png").save(test_root / "b" / "copy.bmp")
    Image.open(train_root / "b" / "01.png").save(test_root / "b" / "copy.tiff")
    Image.open(train_root / "b" / "01.png").save(train_root / "b" / "twin.png")
    (train_root / "a" / "bad.png").write_bytes(b"")
    (test_root / "a" / "bad.png").write_bytes(b"")
    train, test = index_folder(train_root), index_folder(test_root)
    splits = Splits(whole("train", train), None, whole("test", test))
    stores = {folder: open_image_store(folder, SETTINGS, cache="memory") for folder in splits.folders}
    (leak,) = find_leaks(splits, pictures_of_splits(splits, stores))
    assert [test.paths[sample] for sample in leak.samples] == ["b/copy.bmp", "b/copy.tiff"]
    assert [(name, train.paths[sample]) for name, sample in leak.copies] == [
        ("train", "a/02.png"),
        ("train", "b/01.png"),
    ]
    assert leak.source.decides


@given(st.lists(st.integers(0, 5), max_size=30), st.data())
def test_equal_pictures_are_named_by_the_first(values: list[int], data: st.DataObject) -> None:
    # Digests that end in zeros, and undecodable files, whose digests are all zero.
    digests = np.zeros((len(values), 16), np.uint8)
    digests[:, :1] = np.reshape(values, (-1, 1))
    decoded = np.array([data.draw(st.booleans()) for _ in values], bool)
    first = find_equal_pictures(digests, decoded)
    for index, value in enumerate(values):
        same = [i for i in range(len(values)) if values[i] == value and decoded[i]]
        assert first[index] == (same[0] if decoded[index] else index)


@dataclass(eq=False)
class Store:
    """What `load_images` asks an `ImageStore` for."""

    digests: NDArray[np.uint8]
    bad: dict[int, str] = field(default_factory=dict)

    @property
    def stats(self) -> NDArray[np.void]:
        return np.zeros(len(self.digests), IMAGE_STATS)


@st.composite
def folders(draw: st.DrawFn, name: str) -> tuple[ImageFolder, Store]:
    """Draw a folder of two classes with few pictures, of which some cannot be decoded."""
    images = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 14)), min_size=1, max_size=25))
    images = sorted([*images, (0, 1), (1, 2)] if name == "train" else images)
    files = [(label, FoundFile(f"{i:02d}", 0, 0)) for i, (label, _) in enumerate(images)]
    digests = np.zeros((len(images), 16), np.uint8)
    digests[:, 5] = [picture for _, picture in images]
    bad = dict.fromkeys(draw(st.sets(st.integers(0, len(images) - 1), max_size=3)), "empty file")
    digests[list(bad)] = 0
    return make_image_folder(Path("/", name), ["a", "b"], files, {}), Store(digests, bad)


def load(splits: Splits, stores: dict[ImageFolder, Store], **data: Any) -> tuple[Images, list[str]]:
    """Load as `load_images` does, with pictures that are in no file; also return the warnings."""
    config = Config.model_validate({"data": {"train": "/train", "on_bad_image": "skip", **data}})
    events: list[Any] = []
    with mock.patch("imgtrain.pixels.load_images.decode_splits", return_value=stores):
        images = load_images(config, splits, events.append)
    return images, [event.text for event in events if isinstance(event, Message)]


def pictures(part: Any) -> set[bytes]:
    return {digest.tobytes() for digest in part.pixels.digests[part.split.indices]}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 99))
def test_drop_leaves_no_picture_in_two_splits(data: st.DataObject, drawn: bool, seed: int) -> None:
    found = {name: data.draw(folders(name)) for name in (("train", "test") if drawn else FOLDER_NAMES)}
    parts = {name: whole(name, folder) for name, (folder, _) in found.items()}
    holdout = Holdout(0.3, seed, None, "data.validation_split") if drawn else None
    splits = Splits(parts["train"], parts.get("validation"), parts["test"], holdout)
    stores = dict(found.values())
    error = None
    try:
        images, warnings = load(splits, stores, on_leak="drop")
    except DataError as raised:
        error = str(raised)
    if error is not None:
        reasons = ("no images", "cannot hold out", "images remain: `data.on_leak: drop`")
        assert any(reason in error for reason in reasons)
        return
    for part in images:
        others = [pictures(other) for other in images if other is not part]
        assert not pictures(part) & set().union(*others)
        original = stores[part.split.folder]
        gone = {part.split.folder.paths.index(image.path) for image in part.dropped}
        assert gone == {image.index for image in part.dropped}
        assert not gone & set(part.split.indices.tolist())
        assert not gone & set(original.bad)
    assert not images.train.dropped
    described = images.describe()["splits"]
    for part in images.evaluated():
        known = {
            (name, image["path"]): image["digest"]
            for name in described
            for image in described[name]["images"]
        }
        for image, listed in zip(part.dropped, described[part.split.name]["dropped"], strict=True):
            copy = listed["same_pixels_as"]
            digest = part.pixels.digests[image.index].tobytes().hex()
            # The copy is still there, unless it was dropped itself for a copy in the training images.
            assert known.get((copy["split"], copy["path"]), digest) == digest
        if part.dropped:
            assert any("dropped (`data.on_leak: drop`)" in warning for warning in warnings)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 99))
def test_each_leaked_test_image_is_counted_once(data: st.DataObject, drawn: bool, seed: int) -> None:
    found = {name: data.draw(folders(name)) for name in (("train", "test") if drawn else FOLDER_NAMES)}
    parts = {name: whole(name, folder) for name, (folder, _) in found.items()}
    holdout = Holdout(0.3, seed, None, "data.validation_split") if drawn else None
    splits = Splits(parts["train"], parts.get("validation"), parts["test"], holdout)
    try:
        images, warnings = load(splits, dict(found.values()), on_leak="warn")
    except DataError:
        return
    assert images.test is not None
    digests = {name: [d.tobytes() for d in found[name][1].digests] for name in found}
    known = set(digests["train"]) - {bytes(16)}
    leaked = sum(digest in known for digest in digests["test"])
    total = sum(digest != bytes(16) for digest in digests["test"])
    told = [text for text in warnings if "an image of data.train" in text and "test image" in text]
    if not leaked:
        assert told == []
    else:
        assert len(told) == 1
        assert told[0].startswith(f"{leaked} of {total} test image")
    if not drawn:
        only_validation = set(digests["validation"]) - known - {bytes(16)}
        leaked = sum(digest in only_validation for digest in digests["test"])
        told = [text for text in warnings if "an image of data.validation" in text]
        assert [text.split(" ")[0] for text in told] == ([str(leaked)] if leaked else [])
