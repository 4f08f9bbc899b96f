"""What the documents point at is there."""

import re

import pytest
from repository import REPOSITORY

PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (REPOSITORY / "docs").rglob("*.md")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_test_and_file_that_a_page_names_exists(page):
    text = page.read_text()
    for path, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", text):
        assert (REPOSITORY / path).is_file(), path
        assert not name or f"def {name}(" in (REPOSITORY / path).read_text(), f"{path}::{name}"
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
