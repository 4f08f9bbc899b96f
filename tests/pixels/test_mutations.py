"""Thousands of damaged images: none crashes, hangs or grows; each is what Pillow makes of it, or is named."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgtrain.dataset.index import index_folder
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.image_store import open_image_store

SETTINGS = DecodeSettings(24, 32)
DECODE_AND_MEASURE = """
import resource, sys
from pathlib import Path
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.dataset.index import index_folder
from imgtrain.pixels.decode_workers import stop_idle_workers
from imgtrain.pixels.image_store import open_image_store

mutated, cache = map(Path, sys.argv[1:])
open_image_store(index_folder(mutated), DecodeSettings(24, 32), cache="disk", cache_directory=cache)
stop_idle_workers()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
PER_FORMAT = 170
FORMATS = {
    "jpg": ("JPEG", "RGB"), "png": ("PNG", "RGBA"), "webp": ("WEBP", "RGB"), "gif": ("GIF", "P"),
    "bmp": ("BMP", "RGB"), "tif": ("TIFF", "RGB"), "ppm": ("PPM", "RGB"), "ico": ("ICO", "RGBA"),
    "tga": ("TGA", "RGB"), "pcx": ("PCX", "P"), "jp2": ("JPEG2000", "RGB"), "avif": ("AVIF", "RGB"),
}  # fmt: skip


def flip(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        content[place] ^= 1 << int(rng.integers(8))


def flip_header(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(64, len(content)), rng.integers(1, 4)):
        content[place] = int(rng.integers(256))


def cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def splice(content: bytearray, rng: np.random.Generator) -> None:
    start, end = sorted(rng.integers(0, len(content), 2).tolist())
    at = int(rng.integers(len(content)))
    content[at:at] = content[start:end]


def remove(content: bytearray, rng: np.random.Generator) -> None:
    start = int(rng.integers(len(content)))
    del content[start : start + int(rng.integers(1, 200))]


MUTATIONS: list[Callable[[bytearray, np.random.Generator], None]] = [flip, flip_header, cut, splice, remove]


@pytest.fixture
def mutated(tmp_path: Path, photo: Image.Image) -> Path:
    rng = np.random.default_rng(20)
    for suffix, (name, mode) in FORMATS.items():
        stream = io.BytesIO()
        photo.convert(mode).save(stream, name)
        folder = tmp_path / "mutated" / suffix
        folder.mkdir(parents=True)
        for number in range(PER_FORMAT):
            content = bytearray(stream.getvalue())
            MUTATIONS[number % len(MUTATIONS)](content, rng)
            (folder / f"{number:03}.{suffix}").write_bytes(content)
    return tmp_path / "mutated"


def by_pillow(file: Path) -> np.ndarray | None:
    try:
        with Image.open(file) as image:
            image.load()
            return np.asarray(image.convert("RGB").resize((32, 24), Image.Resampling.BILINEAR))
    except Exception:
        return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_mutated_image_is_decoded_as_pillow_does_or_named(
    mutated: Path, tmp_path: Path, record_property: Callable
) -> None:
    folder = index_folder(mutated)
    assert len(folder) == PER_FORMAT * len(FORMATS) >= 2_000
    # In a process of its own, whose children are the decoding processes and nothing else.
    done = subprocess.run(
        [sys.executable, "-c", DECODE_AND_MEASURE, mutated, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    largest_mib = float(done.stdout)
    pixels = open_image_store(folder, SETTINGS, cache="disk", cache_directory=tmp_path)
    counts: Counter[str] = Counter()
    for index in range(len(folder)):
        expected = by_pillow(folder.file(index))
        if index in pixels.bad:
            assert pixels.bad[index]
            counts["named"] += 1
            # Refused where Pillow reads it: only what Pillow itself only warns of.
            if expected is not None:
                counts[f"refused, Pillow reads it: {pixels.bad[index].split(':')[0]}"] += 1
            continue
        counts["decoded"] += 1
        if expected is None:
            counts["decoded, Pillow refuses"] += 1
        # Damage may make an orientation or a 16-bit gray, which Pillow's plain way does not turn or scale.
        elif not np.array_equal(pixels.read(np.array([index]))[0], expected):
            counts["other pixels"] += 1
    record_property("counts", dict(counts))
    print(dict(counts), f"{largest_mib:.0f} MiB at most in a decoding process")
    assert counts["named"] > 500
    assert counts["decoded"] > 500
    assert counts["decoded, Pillow refuses"] == counts["other pixels"] == 0
    assert not [name for name in counts if name.startswith("refused")]
    assert largest_mib < 600
