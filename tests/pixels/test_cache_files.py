"""The cache stays within its limit without losing a file that is in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtrain.dataset.index import index_folder
from imgtrain.events import Event, Message
from imgtrain.pixels import cache_files, packed_file
from imgtrain.pixels.cache_files import default_limit, list_cache, make_room, shrink_cache
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.decode_folder import DECODE_RESULT
from imgtrain.pixels.image_store import ImageStore, open_image_store
from imgtrain.pixels.packed_file import PackedFileWriter, read_packed_header


@pytest.fixture
def fill(image_folders: Callable[..., Path], tmp_path: Path) -> Callable[..., ImageStore]:
    """Return a function that caches three images of a new folder, and makes its file some seconds old."""

    def make(name: str, *, age: float = 0, emit: Callable[[Event], None] = lambda event: None) -> ImageStore:
        root = tmp_path / name
        folder = index_folder(root if root.is_dir() else image_folders({"a": 2, "b": 1}, root=name))
        store = open_image_store(
            folder, DecodeSettings(6, 5), cache="disk", cache_directory=tmp_path / "cache", emit=emit
        )
        newest = list_cache(tmp_path / "cache")[0]
        os.utime(newest.path, (newest.last_used - age,) * 2)
        return store

    return make


def names(directory: Path) -> list[str]:
    return [Path(file.folder).name for file in list_cache(directory)]


def test_files_are_listed_with_what_they_hold(fill: Callable[..., ImageStore], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = fill("first", age=50)
    fill("second")
    assert names(cache) == ["second", "first"]
    second, first = list_cache(cache)
    assert first.folder == str(tmp_path / "first")
    assert (first.images, first.shape, first.size) == (3, (6, 5, 3), first.path.stat().st_size)
    assert (first.in_use, second.in_use) == (True, False)
    assert len(kept) == 3
    (cache / f"{'0' * 32}.pixels").write_bytes(b"of another version")
    (cache / "holiday.pixels").write_bytes(b"of the user")
    other, *rest = list_cache(cache)
    assert (other.folder, other.images, other.shape, len(rest)) == ("", None, None, 2)
    assert list_cache(tmp_path / "nothing") == []


def test_using_a_file_makes_it_the_newest(fill: Callable[..., ImageStore], tmp_path: Path) -> None:
    fill("first", age=100)
    fill("second", age=50)
    assert names(tmp_path / "cache") == ["second", "first"]
    fill("first")
    assert names(tmp_path / "cache") == ["first", "second"]


def test_the_least_recently_used_goes_first_but_never_a_file_in_use(
    fill: Callable[..., ImageStore], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    used = fill("first", age=300)
    fill("second", age=200)
    fill("third", age=100)
    fill("fourth")
    size = list_cache(cache)[0].size
    (cache / "holiday.pixels").write_bytes(b"of the user")
    assert shrink_cache(cache, 4 * size) == []
    assert [Path(file.folder).name for file in shrink_cache(cache, 3 * size)] == ["second"]
    assert names(cache) == ["fourth", "third", "first"]
    assert len(shrink_cache(cache, 0)) == 2
    assert names(cache) == ["first"]
    assert used.read(np.arange(3)).any()
    del used
    assert len(shrink_cache(cache, 0)) == 1
    assert (cache / "holiday.pixels").exists()


def test_a_new_file_makes_room_for_itself(
    fill: Callable[..., ImageStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    fill("first", age=200)
    fill("second", age=100)
    size = list_cache(cache)[0].size
    assert default_limit(cache) > 2 * size
    monkeypatch.setattr(cache_files, "default_limit", lambda directory: 2 * size)
    said: list[Event] = []
    fill("third", emit=said.append)
    assert names(cache) == ["third", "second"]
    (message,) = (event.text for event in said if isinstance(event, Message))
    assert message.startswith("removed 1 file (")
    assert "least recently used first" in message
    # One file that is larger than the limit is written nevertheless.
    monkeypatch.setattr(cache_files, "default_limit", lambda directory: 1)
    fill("fourth")
    assert names(cache) == ["fourth"]


def test_the_limit_is_half_of_what_would_be_free(
    fill: Callable[..., ImageStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("first")
    size = list_cache(tmp_path / "cache")[0].size
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(cache_files.shutil, "disk_usage", lambda directory: usage)
    assert default_limit(tmp_path / "cache") == (1000 + size) // 2
    make_room(tmp_path / "cache", 0)
    assert names(tmp_path / "cache") == []


def test_a_file_that_is_removed_while_it_is_opened_is_made_again(
    fill: Callable[..., ImageStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("first")
    (file,) = list_cache(tmp_path / "cache")
    original = packed_file.open_binary

    def open_then_lose(path: Path, flags: int) -> int:
        descriptor = original(path, flags)
        monkeypatch.setattr(packed_file, "open_binary", original)
        file.path.unlink()
        return descriptor

    monkeypatch.setattr(packed_file, "open_binary", open_then_lose)
    assert len(fill("first")) == 3
    assert names(tmp_path / "cache") == ["first"]


def test_a_long_folder_name_fits_the_header(tmp_path: Path) -> None:
    folder = "/" + "\N{GRINNING FACE}" * 900
    with PackedFileWriter(tmp_path / "x.pixels", "0" * 32, DecodeSettings(6, 5), 0, folder=folder) as writer:
        writer.finish(np.zeros(0, DECODE_RESULT), {}).close()
    assert read_packed_header(tmp_path / "x.pixels")["folder"] == "…" + folder[-255:]
