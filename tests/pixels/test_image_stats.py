"""The hash, thumbnail and border of an image, compared with Pillow and NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from imgtrain.pixels import image_stats as summary
from imgtrain.pixels.image_stats import SMALL_SIDE, summarize_pixels

SIZES = [(1, 1), (1, 40), (40, 1), (7, 9), (16, 16), (33, 100), (500, 333), (640, 64), (700, 8_500)]


def picture(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(size)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, len(mode)), np.uint8), mode)
    return coarse.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def pieces() -> Iterator[None]:
    """Let Pillow keep each picture in pieces of 4 KiB, as it keeps those of more than 16 MiB."""
    size = Image.core.get_block_size()
    Image.core.set_block_size(4096)
    yield
    Image.core.set_block_size(size)


@pytest.mark.parametrize("size", SIZES)
def test_small_is_pillows_reduction(size: tuple[int, int]) -> None:
    image = picture(size)
    sides = (SMALL_SIDE, SMALL_SIDE)
    expected = np.asarray(image.resize(sides, Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)
    # Pillow rounds to 8 bits after each of three steps.
    np.testing.assert_allclose(summarize_pixels(image).small, expected, atol=1.5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_border_is_what_lies_outermost(size: tuple[int, int], mode: str) -> None:
    image = picture(size, mode)
    pixels = np.asarray(image)[..., :3]
    expected = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    border = summarize_pixels(image).border
    np.testing.assert_array_equal(np.sort(border, axis=0), np.sort(expected, axis=0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_nothing_depends_on_the_stripes(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    image = picture((333, 500), mode)
    whole = summarize_pixels(image)
    for pixels in (1, 5_000, 20_000):
        monkeypatch.setattr(summary, "_STRIPE_PIXELS", pixels)
        striped = summarize_pixels(image)
        assert striped.digest == whole.digest
        np.testing.assert_array_equal(striped.small, whole.small)
        np.testing.assert_array_equal(np.sort(striped.border, axis=0), np.sort(whole.border, axis=0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_picture_in_pieces_is_the_same(pieces: None, mode: str) -> None:
    Image.core.set_block_size(1 << 24)
    image = picture((300, 200), mode)
    Image.core.set_block_size(4096)
    in_pieces = image.copy()
    with pytest.raises(ValueError, match=r"."):
        in_pieces.__arrow_c_array__()
    assert summarize_pixels(in_pieces).digest == summarize_pixels(image).digest
    np.testing.assert_array_equal(summarize_pixels(in_pieces).small, summarize_pixels(image).small)


def test_bytes_that_belong_to_no_channel_do_not_count() -> None:
    resized = picture((64, 64)).resize((32, 32))  # Pillow leaves 0 in the fourth byte here, and 255 elsewhere
    again = Image.fromarray(np.asarray(resized))
    fourth = {image.tobytes("raw", "RGBX")[3] for image in (resized, again)}
    assert len(fourth) == 2
    assert summarize_pixels(resized).digest == summarize_pixels(again).digest


def test_opaque_is_the_same_with_and_without_alpha() -> None:
    image = picture((20, 30))
    assert summarize_pixels(image).digest == summarize_pixels(image.convert("RGBA")).digest
