"""What the documents point at is there."""

import re

import pytest
from repository import REPOSITORY

PAGES = [
    REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
] + sorted((REPOSITORY / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_test_and_file_that_a_page_names_exists(page):
    text = page.read_text()
    for path, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", text):
        assert (REPOSITORY / path).is_file(), path
        assert not name or f"def {name}(" in (REPOSITORY / path).read_text(), f"{path}::{name}"
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page", sorted((REPOSITORY / "docs/decisions").glob("*.md")), ids=lambda page: page.stem
)
def test_every_decision_has_its_number_a_date_and_a_status(page):
    title, empty, status, *_ = page.read_text().splitlines()
    assert title.startswith(f"# {int(page.name[:4])}. ")
    assert empty == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, (accepted|superseded by \[decision \d+\]\(.+\))\.", status)


def test_the_map_shows_every_package_and_its_entry_points():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)/` \| .+? \| (.+) \|$", text, re.MULTILINE))
    packages = {path.parent.name: path.parent for path in (REPOSITORY / "imgtrain").glob("*/__init__.py")}
    assert set(rows) == set(packages)
    for name, entry in rows.items():
        code = "\n".join(path.read_text() for path in packages[name].glob("*.py"))
        for defined in re.findall(r"`(\w+)`", entry):
            assert re.search(rf"^(def|class) {defined}\b", code, re.MULTILINE), f"{name}/: {defined}"
    for path in re.findall(r"`(\w+/\w+\.py)`", text):
        if not path.startswith(("tests/", "scripts/", "benchmarks/")):
            assert (REPOSITORY / "imgtrain" / path).is_file(), path
