"""Keras's error messages, shortened for users."""

from __future__ import annotations

import re

__all__ = ["first_sentences"]


def first_sentences(error: Exception) -> str:
    """Return Keras's message without colors and the dump of arguments, on one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    text = re.sub(r"^Exception encountered when calling \S+\(\)\.\s*", "", text)
    text = re.split(r"\n\s*(?:Arguments received by|Full object config)", text)[0]
    # The actual error, if it is preceded by a whole config.
    text = text.rpartition("Exception encountered: ")[2]
    return " ".join(text.split()).rstrip(".") or type(error).__name__
