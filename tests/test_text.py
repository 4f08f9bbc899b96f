"""Names from disk can neither move the cursor nor hide anything."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtrain.text import format_bytes, format_minutes, from_cell, printable, to_cell


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("Schäfer 犬 🐕.jpg", "Schäfer 犬 🐕.jpg"),
        ("red\x1b[31m.jpg", r"red\x1b[31m.jpg"),
        ("two\nlines", r"two\nlines"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_shown(name, shown):
    assert printable(name) == shown


@given(st.text(st.characters(codec=None, categories=None)))
def test_whatever_the_name_it_can_be_printed_on_one_line(name):
    shown = printable(name)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


@given(text=st.text(alphabet="'=+-@\t\rab", max_size=6) | st.text(max_size=6))
def test_no_cell_is_a_formula_and_every_cell_is_read_back(text):
    cell = to_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell) == text


def test_sizes_are_readable() -> None:
    assert [format_bytes(count) for count in (0, 1023, 1024, 80 * 2**30, 5000 * 2**50)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "80.0 GiB",
        "5,000.0 PiB",
    ]


@pytest.mark.parametrize(
    ("minutes", "shown"), [(1, "1 minute"), (1.0, "1 minute"), (0.3, "0.3 minutes"), (10, "10 minutes")]
)
def test_a_minute_is_singular(minutes, shown):
    assert format_minutes(minutes) == shown
