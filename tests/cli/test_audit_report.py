"""The findings of a check, as they are printed."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from imgtrain.audit.cost import Budget, Cost
from imgtrain.audit.findings import Finding, Item
from imgtrain.audit.result import AuditReport
from imgtrain.cli.audit_report import draw_audit_report

COPIES = tuple(
    Item(tuple(f"cat/{number}-{copy}.png" for copy in range(6)), "same pixels") for number in range(5)
)
FINDINGS = (
    Finding(
        "leak", "error", "5 images are in training and test", "scores are too high", "remove them", COPIES
    ),
    Finding("imbalance", "warning", "cats are rare", "they are missed", "set data.class_weight"),
)
COST = Cost(
    images=1_234,
    cache_bytes=5 << 20,
    memory_bytes=3 << 30,
    available_bytes=8 << 30,
    parameters=12_345,
    decode_images_per_second=1_500,
    augment_images_per_second=4_000,
    train_images_per_second=250,
    epoch_seconds=200,
    unknown_layers=(),
)


def printed(*findings, width=110, cost=None, every_file=False, source="photos"):
    report = AuditReport(
        source=Path(source),
        root=Path(source),
        images={"train": 1_234, "test": 56},
        class_names=("cat", "dog"),
        findings=findings,
        cost=cost,
    )
    file = io.StringIO()
    Console(file=file, width=width, markup=False, highlight=False).print(
        draw_audit_report(report, every_file=every_file)
    )
    return file.getvalue()


def test_a_finding_has_severity_code_impact_and_fix_and_its_first_files():
    text = printed(*FINDINGS)
    assert text.startswith("photos: 2 classes; images: train 1,234, test 56\n")
    lines = [line.strip() for line in text.splitlines()]
    first = lines.index("error leak: 5 images are in training and test")
    assert lines[first + 1 : first + 3] == ["impact: scores are too high", "fix: remove them"]
    assert lines[first + 3] == (
        "cat/0-0.png  =  cat/0-1.png  =  cat/0-2.png  =  cat/0-3.png  =  2 more  (same pixels)"
    )
    assert "and 2 more (use --verbose or --json to list all)" in lines
    assert "cat/3-0.png" not in text
    assert lines[-1] == "1 error  1 warning  0 notes"


def test_every_file_is_listed_where_asked():
    text = printed(*FINDINGS, every_file=True)
    for item in COPIES:
        for path in item.paths:
            assert path in text
    assert "more" not in text


def test_nothing_found_is_said():
    assert printed().splitlines()[-1] == "no problems found"


@pytest.mark.parametrize("width", [30, 60, 200])
def test_lines_fit_and_no_file_name_is_cut(width):
    text = printed(*FINDINGS, width=width, cost=COST)
    assert max(map(cell_len, text.splitlines())) <= width
    words = text.split()
    assert "cat/0-3.png" in words
    assert "12,345" in words


def test_names_from_outside_are_text_and_nothing_else():
    hostile = "[red]ev\x1b[31mil\u202e\n.png"
    finding = Finding("bad", "note", hostile, hostile, hostile, (Item((hostile,), hostile),))
    text = printed(finding, source=hostile)
    assert not {"\x1b", "\u202e"} & set(text)
    assert text.count(r"[red]ev\x1b[31mil\u202e\n.png") == 6


def test_the_cost_has_what_time_budgets_buy():
    assert "training.minutes" not in printed(cost=COST)
    budgets = (Budget(1, 4.25, (64, 48), 12.5), Budget(30, 1275.0, (192, 144), 41.4))
    lines = printed(cost=replace(COST, budgets=budgets)).splitlines()
    assert any(line.split() == ["1", "4.2", "64×48", "12"] for line in lines)
    assert any(line.split() == ["30", "1,275", "192×144", "41"] for line in lines)


def test_the_cost_has_time_memory_and_disk():
    text = " ".join(printed(cost=COST).split())
    for part in (
        "3:20 min per epoch of 1,234 images",
        "250 images/s",
        "3.0 GiB of memory",
        "5.0 MiB of cache",
    ):
        assert part in text


def test_what_was_not_measured_is_said():
    cost = replace(COST, train_images_per_second=None, epoch_seconds=None, unknown_layers=("Resizing", "GRU"))
    text = " ".join(printed(cost=cost).split())
    assert "time per epoch not measured" in text
    assert "3.0 GiB of memory (without Resizing, GRU)" in text
    assert "3:20 min" not in text
