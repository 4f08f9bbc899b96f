"""Letters on pictures: names from outside on one line of a contact sheet."""

from __future__ import annotations

from PIL import ImageFont

from imgtrain.text import printable

__all__ = ["Font", "fit_text", "load_font", "shorten"]

# Pillow's own font has ASCII letters only, so the first of these that the system has is preferred.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
_FONT_SIZE = 15

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def load_font() -> Font:
    """Return the best font that the system has."""
    for name in _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, _FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(_FONT_SIZE)


def fit_text(text: str, width_pixels: int, font: Font) -> str:
    """Return the text on one line, shortened in the middle until it fits."""
    text = _legible(text, font)
    for length in range(len(text), 2, -1):
        if font.getlength(short := shorten(text, length)) <= width_pixels:
            return short
    return text[:2]


def _legible(text: str, font: Font) -> str:
    """Escape what the font has no letter for, so that names do not all become the same row of boxes."""
    box = bytes(font.getmask("\uffff"))
    return "".join(
        letter
        if letter.isascii() or bytes(font.getmask(letter)) != box
        else letter.encode("unicode_escape").decode("ascii")
        for letter in printable(text)
    )


def shorten(text: str, length: int) -> str:
    """Replace the middle of a text that is longer than `length` characters, which are 3 or more."""
    if len(text) <= length:
        return text
    kept = length - 2
    return text[: kept - kept // 2] + ".." + text[len(text) - kept // 2 :]
