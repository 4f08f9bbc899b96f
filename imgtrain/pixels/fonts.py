"""Fonts for contact sheets, and fitting names to one line."""

from __future__ import annotations

from PIL import ImageFont

from imgtrain.text import printable

__all__ = ["Font", "fit_text", "load_font", "shorten"]

# Pillow's own font only has ASCII letters, so the first of these fonts on the system is preferred.
_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
_FONT_SIZE = 15

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def load_font() -> Font:
    """Return the best font available on the system."""
    for name in _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, _FONT_SIZE)
        except OSError:
            continue
    return ImageFont.load_default(_FONT_SIZE)


def fit_text(text: str, width_pixels: int, font: Font) -> str:
    """Return the text, shortened in the middle to fit on one line."""
    text = _legible(text, font)
    for length in range(len(text), 2, -1):
        if font.getlength(short := shorten(text, length)) <= width_pixels:
            return short
    return text[:2]


def _legible(text: str, font: Font) -> str:
    """Escape characters that the font doesn't have, so that names remain distinguishable."""
    box = bytes(font.getmask("\uffff"))
    return "".join(
        letter
        if letter.isascii() or bytes(font.getmask(letter)) != box
        else letter.encode("unicode_escape").decode("ascii")
        for letter in printable(text)
    )


def shorten(text: str, length: int) -> str:
    """Shorten a text in the middle to at most `length` characters, at least 3."""
    if len(text) <= length:
        return text
    kept = length - 2
    return text[: kept - kept // 2] + ".." + text[len(text) - kept // 2 :]
