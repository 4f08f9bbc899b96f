"""`imgtrain cache`: what the table says, and what goes."""

from __future__ import annotations

import json
import os

import pytest

from imgtrain.dataset.index import index_folder
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.image_store import open_image_store


@pytest.fixture
def cached(tmp_path, image_folders):
    """Return a folder with the caches of two data sets, one of them an hour older."""
    directory = tmp_path / "cache"
    for name, age in (("old", 3600), ("new", 0)):
        folder = index_folder(image_folders({"a": 2, "b": 2}, root=name))
        open_image_store(folder, DecodeSettings(64, 64), cache="disk", cache_directory=directory)
        newest = max(directory.glob("*.pixels"), key=lambda file: file.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age,) * 2)
    return directory


def test_the_table_and_the_json_list_data_sets_and_sizes(imgtrain, cached, tmp_path):
    done = imgtrain("cache", "--directory", cached)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = [line for line in lines if "64×64×3" in line]
    assert len(rows) == 2
    assert "53.2 KiB" in rows[0]
    # Long paths are folded, not cut.
    shown = "".join(line.strip().split("  ")[0] for line in lines)
    assert shown.index(f"{tmp_path}/new") < shown.index(f"{tmp_path}/old")
    assert "half of the free disk space" in done.stdout
    content = json.loads(imgtrain("cache", "--directory", cached, "--json").stdout)
    assert [file["folder"] for file in content["files"]] == [str(tmp_path / "new"), str(tmp_path / "old")]
    assert content["total_bytes"] == sum(file["size_bytes"] for file in content["files"])


def test_the_oldest_goes_first(imgtrain, cached, tmp_path):
    done = imgtrain("cache", "--directory", cached, "--max-size", "60 KiB")
    assert done.stdout == "removed 1 cache file (53.2 KiB)\n"
    content = json.loads(imgtrain("cache", "--directory", cached, "--json").stdout)
    assert [file["folder"] for file in content["files"]] == [str(tmp_path / "new")]


def test_clear_keeps_what_is_in_use(imgtrain, cached, tmp_path):
    store = open_image_store(
        index_folder(tmp_path / "old"), DecodeSettings(64, 64), cache="disk", cache_directory=cached
    )
    done = imgtrain("cache", "--clear", "--directory", cached)
    assert done.stdout == "removed 1 cache file (53.2 KiB); kept 1 in use\n"
    assert len(store) == 4
    assert len(list(cached.glob("*.pixels"))) == 1


def test_nothing_is_cached(imgtrain, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    assert "no cached pixels in" in imgtrain("cache", env=env).stdout
    assert imgtrain("cache", "--clear", env=env).stdout == "removed 0 cache files (0 bytes)\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-size", "plenty"], "--max-size: 'plenty' is not a size"),
        (["--max-size", "1G", "--clear"], "mutually exclusive"),
        (["--directory", "gone"], "--directory: gone is not a folder"),
    ],
)
def test_wrong_options(imgtrain, options, message):
    done = imgtrain("cache", *options)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("2k", 2048),
        ("20GiB", 20 * 2**30),
        ("1.5 MB", 1_500_000),
        ("3tib", 3 * 2**40),
        ("7B", 7),
    ],
)
def test_sizes(text, size):
    from imgtrain.cli.cache import _parse_size

    assert _parse_size(text) == size
