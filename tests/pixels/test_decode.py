"""The decoder, held against Pillow's own way to the same pixels."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from imgtrain.pixels import decode
from imgtrain.pixels.decode import DecodeSettings, UndecodableImage, decode_image

HOSTILE = Path(__file__).parents[2].parent / "shared" / "data" / "hostile"
MODES = {"rgb": "RGB", "rgba": "RGBA", "grayscale": "L"}
FILTERS = ["bilinear", "nearest", "bicubic", "lanczos", "box", "hamming"]
SMALL = DecodeSettings(13, 17)


def saved(image: Image.Image, suffix: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    stream.seek(0)
    return stream


def by_pillow(file: io.BytesIO, settings: DecodeSettings) -> NDArray[np.uint8]:
    """Pillow's documented way, for modes of 8 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(file)
        image.load()
        with contextlib.suppress(Exception):  # broken EXIF: the picture stays as it is
            image = ImageOps.exif_transpose(image)
        image = image.convert(MODES[settings.color_mode])
        image = image.resize(
            (settings.width, settings.height), Image.Resampling[settings.interpolation.upper()]
        )
    return np.asarray(image).reshape(settings.shape)


@pytest.mark.parametrize("color_mode", MODES)
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"])
def test_every_mode_equals_pillow(photo: Image.Image, mode: str, color_mode: str) -> None:
    settings = DecodeSettings(13, 17, color_mode)
    if mode in ("LAB", "HSV", "YCbCr"):
        image = photo.convert(mode)
    elif mode == "PA":
        image = photo.convert("P").convert("PA")
    elif mode in ("RGBA", "LA"):
        image = photo.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(photo.size))
    else:
        image = photo.convert(mode)
    pillow_image = image.convert("RGB") if (mode, color_mode) == ("LAB", "grayscale") else image
    expected = pillow_image.convert(MODES[color_mode]).resize((17, 13), Image.Resampling.BILINEAR)
    result = decode.decode_pixels(image, settings)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.asarray(expected).reshape(settings.shape))


FORMATS = {
    "png": ["1", "L", "P", "RGB", "RGBA"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "gif": ["1", "L", "P", "RGB", "RGBA"],
    "tiff": ["1", "L", "P", "RGB", "RGBA", "CMYK"],
    "webp": ["L", "P", "RGB", "RGBA"],
    "jpeg": ["1", "L", "RGB", "CMYK"],
    "ppm": ["1", "L", "RGB", "RGBA"],
    "ico": ["L", "P", "RGB", "RGBA"],
    "tga": ["1", "L", "P", "RGB", "RGBA"],
    "jpeg2000": ["L", "RGB", "RGBA"],
    "pcx": ["1", "L", "P", "RGB"],
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix in FORMATS for mode in FORMATS[suffix]]
)
def test_every_format_equals_pillow(photo: Image.Image, suffix: str, mode: str) -> None:
    image = photo.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(photo.size))
    stream = saved(image, suffix)
    for color_mode in MODES:
        settings = DecodeSettings(13, 17, color_mode)
        np.testing.assert_array_equal(decode_image(stream, settings).pixels, by_pillow(stream, settings))


@pytest.mark.parametrize("interpolation", FILTERS)
def test_every_filter_equals_pillow(photo: Image.Image, interpolation: str) -> None:
    settings = DecodeSettings(60, 11, "rgb", interpolation)
    stream = saved(photo, "png")
    np.testing.assert_array_equal(decode_image(stream, settings).pixels, by_pillow(stream, settings))


def hostile_files() -> list[Path]:
    return sorted(path for path in HOSTILE.glob("*/*") if path.is_file())


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the collection of odd files is not here")
@pytest.mark.parametrize("file", hostile_files(), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_odd_files_decode_as_in_pillow_or_are_named(file: Path) -> None:
    settings = DecodeSettings(19, 23)
    try:
        # From memory, because Pillow leaves files open that it refuses.
        content = io.BytesIO(file.read_bytes())
        expected = by_pillow(content, settings)
        wide = Image.open(content).mode in ("I", "I;16", "F")
    except Exception:
        with pytest.raises(UndecodableImage) as caught:
            decode_image(file, settings)
        assert caught.value.reason
        assert str(file) not in caught.value.reason
        assert "\n" not in caught.value.reason
        return
    result = decode_image(file, settings).pixels
    if wide:
        assert result.std() > expected.std()  # Pillow clips nearly all to white
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the collection of odd files is not here")
def test_broken_exif_does_not_lose_the_picture() -> None:
    for file in (HOSTILE / "exif-orientation").iterdir():
        assert decode_image(file, SMALL).pixels.any()


def test_exif_that_pillow_refuses_does_not_lose_the_picture(photo: Image.Image) -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("Raw profile type exif", "\nexif\n       4\nno hexadecimal digits")
    stream = saved(photo, "png", pnginfo=note)
    with pytest.raises(ValueError, match="hexadecimal"):
        ImageOps.exif_transpose(Image.open(stream))
    np.testing.assert_array_equal(decode_image(stream, DecodeSettings(28, 40)).pixels, np.asarray(photo))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "webp"])
def test_all_orientations(photo: Image.Image, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = saved(photo, suffix, exif=exif)
    decoded = decode_image(stream, DecodeSettings(28, 40))
    np.testing.assert_array_equal(decoded.pixels, by_pillow(stream, DecodeSettings(28, 40)))
    assert (decoded.width, decoded.height) == ((40, 28) if orientation < 5 else (28, 40))
    if suffix == "png" and orientation == 6:
        upright = decode_image(stream, DecodeSettings(40, 28)).pixels
        np.testing.assert_array_equal(upright, np.rot90(np.asarray(photo), -1))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(photo: Image.Image, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    decoded = decode_image(saved(photo, "png", exif=exif), DecodeSettings(28, 40))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(photo))


def test_16_bit_greys_are_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256 * 4, dtype=np.uint16).reshape(32, 32)
    for suffix in ("png", "tiff"):
        decoded = decode_image(saved(Image.fromarray(values), suffix), DecodeSettings(32, 32, "grayscale"))
        np.testing.assert_array_equal(decoded.pixels[..., 0], values >> 8)
        assert np.abs(decoded.pixels[..., 0] - values / 257).max() < 1
    pgm = io.BytesIO(b"P5 32 32 65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(decode_image(pgm, DecodeSettings(32, 32)).pixels[..., 2], values >> 8)


def test_16_bit_colours_keep_their_high_byte() -> None:
    # Pillow cannot write 16-bit RGB; a PPM of 16 bits is read to 8 by it.
    values = np.arange(3 * 256, dtype=np.uint16).reshape(16, 16, 3) * 85
    ppm = io.BytesIO(b"P6 16 16 65535\n" + values.astype(">u2").tobytes())
    result = decode_image(ppm, DecodeSettings(16, 16)).pixels
    assert np.abs(result - values / 257).max() <= 1


def test_the_true_depth_of_a_12_bit_tiff_is_used() -> None:
    values = np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    image = Image.fromarray(values)
    assert decode.decode_pixels(image, DecodeSettings(8, 8, "grayscale")).max() == 15
    image.tag_v2 = {258: (12,)}  # type: ignore[attr-defined]
    assert decode.decode_pixels(image, DecodeSettings(8, 8, "grayscale")).max() == 255


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_greys_of_unknown_white_take_their_own_range(kind: type) -> None:
    values = np.linspace(-1000, 3000, 64).reshape(8, 8).astype(kind)
    stream = saved(Image.fromarray(values), "tiff")
    result = decode_image(stream, DecodeSettings(8, 8, "grayscale")).pixels[..., 0]
    np.testing.assert_allclose(result, (values + 1000.0) * 255 / 4000, atol=0.501)
    constant = saved(Image.fromarray(np.full((8, 8), 7, kind)), "tiff")
    assert not decode_image(constant, SMALL).pixels.any()


def test_floats_that_are_no_numbers() -> None:
    values = np.array([[0, 1, np.nan], [np.inf, -np.inf, 0.5]], np.float32)
    result = decode_image(saved(Image.fromarray(values), "tiff"), DecodeSettings(2, 3, "grayscale")).pixels
    assert result[..., 0].tolist() == [[0, 255, 0], [255, 0, 128]]
    nothing = saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "tiff")
    assert not decode_image(nothing, SMALL).pixels.any()


@pytest.mark.parametrize("size", [(40, 28), (28, 40), (100, 3), (3, 100), (1, 1), (17, 13)])
@pytest.mark.parametrize("color_mode", MODES)
def test_crop_is_pillows_fit(size: tuple[int, int], color_mode: str) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    settings = DecodeSettings(13, 17, color_mode, resize="crop")
    expected = ImageOps.fit(image.convert(MODES[color_mode]), (17, 13), Image.Resampling.BILINEAR)
    result = decode_image(saved(image, "png"), settings).pixels
    np.testing.assert_allclose(result, np.asarray(expected).reshape(settings.shape), atol=1)


@pytest.mark.parametrize(
    ("size", "inner"), [((40, 20), (20, 10)), ((20, 40), (10, 20)), ((1000, 1), (20, 1))]
)
def test_pad_keeps_the_picture_whole_on_opaque_black(size: tuple[int, int], inner: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 100, 50))
    settings = DecodeSettings(20, 20, "rgba", resize="pad")
    result = decode_image(saved(image, "png"), settings).pixels
    top, left = (20 - inner[1]) // 2, (20 - inner[0]) // 2
    expected = np.zeros((20, 20, 4), np.uint8)
    expected[..., 3] = 255
    expected[top : top + inner[1], left : left + inner[0], :3] = (200, 100, 50)
    np.testing.assert_array_equal(result, expected)


def test_alpha_is_dropped_and_hidden_colour_stays_as_in_convert() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert decode_image(saved(image, "png"), DecodeSettings(4, 4)).pixels[0, 0].tolist() == [10, 20, 30]


def test_only_the_first_frame_counts(photo: Image.Image) -> None:
    first, second = photo.convert("P"), Image.new("P", photo.size)
    animated = saved(first, "gif", save_all=True, append_images=[second])
    alone = saved(first, "gif")
    assert decode_image(animated, SMALL).digest == decode_image(alone, SMALL).digest


class TestDigest:
    def test_equal_in_every_lossless_format_size_and_colour_mode(self, photo: Image.Image) -> None:
        reference = decode_image(saved(photo, "png"), SMALL).digest
        assert len(reference) == 16
        opaque = photo.convert("RGBA")
        for stream in (saved(photo, "bmp"), saved(photo, "tiff"), saved(photo, "ppm"), saved(opaque, "png"),
                       saved(photo, "webp", lossless=True)):  # fmt: skip
            for settings in (SMALL, DecodeSettings(5, 6, "grayscale", "nearest", "pad")):
                assert decode_image(stream, settings).digest == reference

    def test_grey_is_the_same_as_equal_channels(self, photo: Image.Image) -> None:
        gray = photo.convert("L")
        as_rgb = decode_image(saved(gray.convert("RGB"), "png"), SMALL).digest
        assert decode_image(saved(gray, "png"), SMALL).digest == as_rgb

    def test_one_pixel_the_shape_or_the_alpha_make_another(self, photo: Image.Image) -> None:
        changed = photo.copy()
        changed.putpixel((3, 4), (1, 2, 3))
        clear = photo.convert("RGBA")
        clear.putpixel((3, 4), (*photo.getpixel((3, 4)), 254))
        flat, tall = Image.new("RGB", (8, 2)), Image.new("RGB", (2, 8))
        images = (photo, changed, clear, flat, tall, photo.transpose(Image.Transpose.ROTATE_180))
        assert len({decode_image(saved(image, "png"), SMALL).digest for image in images}) == len(images)

    def test_follows_the_orientation(self, photo: Image.Image) -> None:
        exif = Image.Exif()
        exif[0x0112] = 3
        turned = saved(photo.transpose(Image.Transpose.ROTATE_180), "png", exif=exif)
        assert decode_image(turned, SMALL).digest == decode_image(saved(photo, "png"), SMALL).digest


class TestReasons:
    def reason(self, file: Path | io.BytesIO) -> str:
        with pytest.raises(UndecodableImage) as caught:
            decode_image(file, SMALL)
        return caught.value.reason

    def test_what_is_not_an_image(self) -> None:
        assert self.reason(io.BytesIO(b"")) == "empty file"
        assert "starts with b'<html>" in self.reason(io.BytesIO(b"<html>not found</html>"))
        assert "HEIC" in self.reason(io.BytesIO(b"\0\0\0\x18ftypheic" + bytes(100)))

    @pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "gif", "bmp", "ppm"])
    @pytest.mark.parametrize("share", [0.3, 0.8])
    def test_truncated_files_are_never_filled_up(self, photo: Image.Image, suffix: str, share: float) -> None:
        content = saved(photo, suffix).getvalue()
        assert self.reason(io.BytesIO(content[: int(len(content) * share)]))

    def test_a_truncated_jpeg_is_called_so(self, photo: Image.Image) -> None:
        content = saved(photo, "jpeg").getvalue()
        assert self.reason(io.BytesIO(content[:-200])).startswith("truncated: ")

    def test_files_that_cannot_be_opened(self, tmp_path: Path) -> None:
        assert self.reason(tmp_path / "gone.png") == "unreadable: No such file or directory"
        assert self.reason(tmp_path) == "a folder, not a file"
        os.mkfifo(tmp_path / "pipe.png")
        assert self.reason(tmp_path / "pipe.png") == "not a regular file"

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> int:  # root may read everything, so that chmod would not do
            raise PermissionError(13, "Permission denied", "x.png")

        monkeypatch.setattr(os, "open", refuse)
        assert self.reason(tmp_path / "x.png") == "unreadable: Permission denied"

    def test_too_many_pixels(self, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decode, "MOST_PIXELS", 40 * 28 - 1)
        assert self.reason(saved(photo, "png")) == "too large: 40 by 28 pixels, the limit is 1,119 in all"
        monkeypatch.setattr(decode, "MOST_PIXELS", 40 * 28)
        decode_image(saved(photo, "png"), SMALL)

    @pytest.mark.parametrize("size", [(1_000_001, 1), (1, 30_000_000)])
    def test_a_side_that_is_too_long_is_refused_before_decoding(
        self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = saved(Image.new("1", size), "png")
        monkeypatch.setattr(ImageFile.ImageFile, "load", None)
        width, height = size
        expected = f"too large: {width:,} by {height:,} pixels, the limit is 1,000,000 on a side"
        assert self.reason(file) == expected

    @pytest.mark.parametrize(
        "error", [MemoryError(), RecursionError("deep"), KeyError("x"), AssertionError(), SyntaxError("bad")]
    )
    def test_whatever_pillow_raises(
        self, photo: Image.Image, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        def fail(image: Image.Image) -> None:
            raise error

        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        assert self.reason(saved(photo, "png"))

    def test_postscript_is_not_executed(self) -> None:
        script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
        assert "not an image" in self.reason(io.BytesIO(script))


class TestWarnings:
    def noisy(self) -> io.BytesIO:
        """A palette picture with transparency in bytes: Pillow warns when it becomes RGB."""
        image = Image.new("P", (8, 8))
        image.putpalette([0, 0, 0, 255, 0, 0])
        return saved(image, "png", transparency=bytes([0, 128]))

    def test_pillows_warnings_are_neither_shown_nor_raised(self) -> None:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            Image.open(self.noisy()).convert("RGB")
            assert seen, "Pillow does not warn of this any more: find another picture"
            seen.clear()
            decode_image(self.noisy(), SMALL)
        assert not seen

    def test_the_filters_are_as_before_and_threads_do_not_race(self) -> None:
        before = list(warnings.filters)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(40):
                    decode_image(self.noisy(), SMALL)
            except BaseException as error:  # a warning turned into an error
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert list(warnings.filters) == before

    def test_nothing_reaches_the_terminal(self, tmp_path: Path, photo: Image.Image) -> None:
        content = bytearray(saved(photo, "tiff", compression="tiff_lzw").getvalue())
        content[20:200] = bytes(180)
        (tmp_path / "bad.tiff").write_bytes(content)
        (tmp_path / "noisy.png").write_bytes(self.noisy().getvalue())
        code = (
            "import sys; from imgtrain.pixels.decode import *\n"
            "for name in sys.argv[1:]:\n"
            "    try: decode_image(name, DecodeSettings(4, 4))\n"
            "    except UndecodableImage: pass\n"
        )
        files = [tmp_path / "bad.tiff", tmp_path / "noisy.png", *hostile_files()]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_the_room_is_light(imported_modules: Callable[..., set[str]]) -> None:
    modules = imported_modules(
        "import imgtrain.pixels.decode, imgtrain.dataset.index, imgtrain.pixels.image_store, imgtrain.pixels.leaks,"
        " imgtrain.dataset.split, imgtrain.pixels.load_images"
    )
    assert not modules & {"tensorflow", "keras", "cv2", "sklearn", "pandas", "matplotlib"}


def cut_out(hidden: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Return a red square, half transparent on its right, on completely transparent pixels."""
    image = Image.new("RGBA", (12, 8), (*hidden, 0))
    image.paste((200, 0, 0, 255), (2, 2, 6, 6))
    image.paste((200, 0, 0, 128), (6, 2, 10, 6))
    return image


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_images_are_blended_with_the_background(mode, color_mode):
    image = cut_out().convert(mode) if mode != "P" else cut_out().quantize(8)
    white = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    settings = DecodeSettings(8, 12, color_mode, background=(255, 255, 255))
    np.testing.assert_array_equal(
        decode.decode_pixels(image, settings),
        np.asarray(expected.convert("L" if color_mode == "grayscale" else "RGB")).reshape(settings.shape),
    )


def test_the_background_hides_the_colors_of_transparent_pixels_before_resizing():
    blended, ignored = (
        [
            decode_image(saved(cut_out(hidden), "png"), DecodeSettings(3, 3, background=background)).pixels
            for hidden in ((0, 0, 0), (0, 255, 0))
        ]
        for background in ((10, 20, 30), None)
    )
    np.testing.assert_array_equal(*blended)
    assert (ignored[0] != ignored[1]).any()


def test_the_background_does_not_change_opaque_images_or_the_alpha_channel():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8))
    for image, color_mode in ((photo, "rgb"), (cut_out(), "rgba")):
        with_background, without = (
            decode.decode_pixels(image, DecodeSettings(5, 6, color_mode, background=background))
            for background in ((255, 255, 255), None)
        )
        np.testing.assert_array_equal(with_background, without)


def test_several_colors_under_transparent_pixels_are_noticed():
    several = cut_out()
    several.putpixel((11, 7), (1, 0, 0, 0))
    opaque = Image.new("RGB", (4, 4))
    found = [
        bool(decode_image(saved(image, "png"), SMALL).stats["hidden_colors"])
        for image in (several, cut_out(), opaque)
    ]
    assert found == [True, False, False]
