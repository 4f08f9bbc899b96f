"""Images that stand in two splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from imgtrain.dataset.index import index_folder
from imgtrain.dataset.split import Split
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.image_store import ImageStore, open_image_store
from imgtrain.pixels.leaks import find_leaks

SETTINGS = DecodeSettings(4, 4)


def whole(name: str, root: Path) -> tuple[Split, ImageStore]:
    folder = index_folder(root)
    return Split(name, folder, np.arange(len(folder))), open_image_store(folder, SETTINGS, cache="memory")


def test_the_same_picture_in_another_format_and_class_is_found(image_folders: Callable[..., Path]) -> None:
    train_root = image_folders({"a": 4, "b": 4}, "train", 1)
    test_root = image_folders({"a": 3, "b": 3}, "test", 2)
    Image.open(train_root / "a" / "02.png").save(test_root / "b" / "copy.bmp")
    Image.open(train_root / "b" / "01.png").save(test_root / "b" / "copy.tiff")
    Image.open(train_root / "b" / "01.png").save(train_root / "b" / "twin.png")
    (train_root / "a" / "bad.png").write_bytes(b"")
    (test_root / "a" / "bad.png").write_bytes(b"")
    train, train_pixels = whole("train", train_root)
    test, test_pixels = whole("test", test_root)
    assert find_leaks(train, train_pixels, test, test_pixels) == [
        ("a/02.png", "b/copy.bmp"),
        ("b/01.png", "b/copy.tiff"),
    ]


def test_only_the_images_of_the_splits_count(image_folders: Callable[..., Path]) -> None:
    root = image_folders({"a": 3, "b": 3})
    Image.open(root / "a" / "00.png").save(root / "b" / "copy.png")
    folder = index_folder(root)
    pixels = open_image_store(folder, SETTINGS, cache="memory")
    copy = folder.paths.index("b/copy.png")
    train, other = Split("train", folder, np.array([0, 1])), Split("validation", folder, np.array([2, copy]))
    assert find_leaks(train, pixels, other, pixels) == [("a/00.png", "b/copy.png")]
    assert find_leaks(train.without([0]), pixels, other, pixels) == []
    assert find_leaks(train.without([0, 1]), pixels, other, pixels) == []
    assert find_leaks(train, pixels, other.without([2, copy]), pixels) == []
