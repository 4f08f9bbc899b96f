"""Which images belong together, by an expression that may come from anyone."""

from __future__ import annotations

import time

import pytest

from imgtrain.dataset import groups
from imgtrain.dataset.groups import assign_groups, match_groups
from imgtrain.errors import ConfigError


def test_the_group_of_the_expression_is_what_counts() -> None:
    paths = ["cat/p1_a.jpg", "cat/x.jpg", "dog/p1_b.jpg", "dog/José_\udcff2.jpg", "dog/x.jpg"]
    assert match_groups(paths, r"(p\d+)_") == ["p1", None, "p1", None, None]
    assert match_groups(paths, r"(\w+_.)2") == [None, None, None, "José_\udcff", None]
    numbers = assign_groups(paths, r"(p\d+)_")
    assert numbers is not None
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 4
    assert assign_groups(paths, None) is None
    assert match_groups([], "(a)") == []


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("(", "unterminated subpattern"),
        ("a", "exactly one group in parentheses, has 0"),
        ("(a)(b)", "exactly one group in parentheses, has 2"),
        ("(" * 900 + ")" * 900, "recursion|has 900"),
        ("(a{99999999999999999999})", "repetition number is too large"),
        ("(a+)+$", "longer than 1 seconds"),
    ],
)
def test_what_cannot_be_used_is_said_in_time(
    monkeypatch: pytest.MonkeyPatch, expression: str, said: str
) -> None:
    monkeypatch.setattr(groups, "_SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=said):
        match_groups(["a" * 40 + "b"], expression)
    assert time.monotonic() - started < 10


def test_compiling_an_expression_counts_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_SECONDS", 0.2)
    with pytest.raises(ConfigError, match="longer than 0 seconds"):
        match_groups(["a"], "(?i)(" + "[\\0-\U0010ffff]" * 180 + ")")
