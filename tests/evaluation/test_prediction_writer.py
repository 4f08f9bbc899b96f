"""The files written by `predict`: formats, malicious file names, and resuming after an interruption."""

from __future__ import annotations

import csv
import io
import json
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from imgtrain.errors import ConfigError, InterruptedRunError, RunFileError
from imgtrain.evaluation.prediction_formats import FORMATS, FilePrediction, UnreadableFile, WrittenPrediction
from imgtrain.evaluation.prediction_writer import prediction_writer, validate_prediction_path

NAMES = ("cat", "=dog", "eel")
ROWS = [
    FilePrediction("a,b.jpg", 1, True, np.array([0.1, 0.7, 0.2], np.float32)),
    FilePrediction('=HYPERLINK("x").jpg', 0, False, np.array([1 / 3, 1 / 3, 1 / 3], np.float32)),
    UnreadableFile('two\n"lines"\n.jpg', "empty file"),
    FilePrediction("\udcff,é.jpg", 2, True, np.array([0, 0, 1], np.float32)),
]
PATHS = [row.path for row in ROWS]
WRITTEN = [
    WrittenPrediction(PATHS[0], "=dog", ""),
    WrittenPrediction(PATHS[1], "unsure", ""),
    WrittenPrediction(PATHS[2], None, "empty file"),
    WrittenPrediction(PATHS[3], "eel", ""),
]


def write(
    path: Path,
    rows: Iterable[FilePrediction | UnreadableFile] | None = None,
    *,
    paths: list[str] = PATHS,
    **options: Any,
) -> Path:
    """Write rows; by default, all missing ones."""
    with prediction_writer(path, paths, NAMES, **options) as writer:
        for row in ROWS[writer.done :] if rows is None else rows:
            writer.write(row)
    return path


def interrupted(path: Path, rows: int = 2, **options: Any) -> Path:
    """Write some rows and interrupt; return the partial file."""

    def some() -> Iterable[FilePrediction | UnreadableFile]:
        yield from ROWS[:rows]
        raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        write(path, some(), **options)
    return path.with_name(f"{path.name}.partial")


def test_csv_has_every_probability_and_no_formula(tmp_path: Path) -> None:
    text = write(tmp_path / "a.csv").read_text(errors="surrogateescape")
    header, *rows = csv.reader(text.splitlines(keepends=True))
    assert header == ["path", "predicted", "probability", "error", "cat", "'=dog", "eel"]
    assert rows[0] == ["a,b.jpg", "'=dog", "0.7", "", "0.1", "0.7", "0.2"]
    assert rows[1][:2] == ['\'=HYPERLINK("x").jpg', "unsure"]
    assert rows[2] == ['two\n"lines"\n.jpg', "", "", "empty file", "", "", ""]
    assert np.float32(rows[1][4]) == np.float32(1 / 3)


def test_csv_with_the_most_probable_classes(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.csv", top=2).read_text(errors="surrogateescape").splitlines()
    header, first, *_ = csv.reader(lines)
    assert header[4:] == ["class_1", "probability_1", "class_2", "probability_2"]
    assert first[4:] == ["'=dog", "0.7", "eel", "0.2"]


def test_json_and_json_lines_have_the_same_content(tmp_path: Path) -> None:
    whole = json.loads(write(tmp_path / "a.json").read_text())
    lines = [json.loads(line) for line in write(tmp_path / "a.jsonl").read_text().splitlines()]
    assert whole == lines
    assert whole[0] == {
        "path": "a,b.jpg",
        "predicted": "=dog",
        "probability": 0.7,
        "probabilities": {"cat": 0.1, "=dog": 0.7, "eel": 0.2},
    }
    assert whole[2] == {"path": PATHS[2], "error": "empty file"}
    assert json.loads(write(tmp_path / "none.json", rows=[], paths=[]).read_text()) == []
    top = json.loads(write(tmp_path / "top.json", top=1).read_text())
    assert top[0]["top"] == [{"class": "=dog", "probability": 0.7}]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("top", [None, 2])
def test_all_complete_rows_of_a_truncated_file_are_read(tmp_path: Path, suffix: str, top: int | None) -> None:
    whole = write(tmp_path / f"whole{suffix}", top=top).read_bytes()
    rows = FORMATS[suffix](NAMES, top)
    texts = [
        rows.row(row, first=not number).encode(errors="surrogateescape") for number, row in enumerate(ROWS)
    ]
    assert whole == rows.begin().encode() + b"".join(texts) + rows.end(empty=False).encode()
    counts = set()
    for cut in range(len(whole) + 1):
        found = list(rows.read(io.BytesIO(whole[:cut])))
        assert [row for row, _ in found] == WRITTEN[: len(found)]
        if found:
            end = found[-1][1]
            assert whole[:end] == rows.begin().encode() + b"".join(texts[: len(found)])
            assert end <= cut < end + len([*texts, rows.end(empty=False).encode() + b"."][len(found)])
        counts.add(len(found))
    assert counts == set(range(len(ROWS) + 1))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("cut", [0, 3, 70, -40, -1])
def test_resuming_from_a_truncated_file_gives_the_same_result(tmp_path: Path, suffix: str, cut: int) -> None:
    whole = write(tmp_path / f"whole{suffix}").read_bytes()
    partial = interrupted(tmp_path / f"a{suffix}", 4)
    partial.write_bytes(whole[:cut])
    assert write(tmp_path / f"a{suffix}", resume=True).read_bytes() == whole


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_survive_an_interruption_and_only_a_complete_file_is_renamed(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    partial = interrupted(path)
    assert sorted(tmp_path.iterdir()) == [partial, Path(f"{partial}.json")]
    with prediction_writer(path, PATHS, NAMES, resume=True) as writer:
        assert list(writer.earlier) == WRITTEN[:2]
        # Rows are not buffered.
        size = partial.stat().st_size
        writer.write(ROWS[2])
        assert partial.stat().st_size > size
        assert not path.exists()
        writer.write(ROWS[3])
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_names_the_rows_kept_and_how_to_resume(tmp_path: Path) -> None:
    def full() -> Iterable[FilePrediction | UnreadableFile]:
        yield ROWS[0]
        raise RunFileError("the model outputs NaN")

    with pytest.raises(
        RunFileError, match=r"NaN[^$]*a\.csv\.partial: contains the predictions for 1 of 4 files"
    ):
        write(tmp_path / "a.csv", full())
    with pytest.raises(InterruptedRunError, match=r"3 of 4 files\n.*--resume to continue, or --overwrite"):
        write(tmp_path / "a.csv", interrupt_after(2), resume=True)


def interrupt_after(count: int) -> Iterable[FilePrediction | UnreadableFile]:
    yield from ROWS[1 : 1 + count]
    raise KeyboardInterrupt


def test_an_interruption_before_the_first_row_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a.csv", interrupt_after(0))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_earlier_rows(tmp_path: Path) -> None:
    begin = FORMATS[".csv"](NAMES, None)
    whole_rows = len(begin.begin() + begin.row(ROWS[0], first=True))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole_rows + 5, hard))
    try:
        with pytest.raises(RunFileError, match=r"File too large[^$]*contains the predictions for 1 of 4"):
            write(tmp_path / "a.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "a.csv.partial").stat().st_size == whole_rows + 5
    assert write(tmp_path / "a.csv", resume=True).read_bytes() == write(tmp_path / "b.csv").read_bytes()


def test_existing_files_are_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mine")
    for options in ({}, {"resume": True}):
        with pytest.raises(RunFileError, match="--overwrite"):
            write(path, **options)
    assert path.read_text() == "mine"
    partial = interrupted(path, overwrite=True)
    assert path.read_text() == "mine"
    with pytest.raises(RunFileError, match=r"a\.csv\.partial.*interrupted"):
        write(path)
    assert partial.exists()
    write(path, resume=True)
    assert path.read_bytes() == write(tmp_path / "b.csv").read_bytes()
    interrupted(path, overwrite=True)
    write(path, overwrite=True)
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "b.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "b"}, "was written with another model"),
        ({"top": 2}, "was written with no --top"),
        ({"paths": ["x.jpg", *PATHS[1:]]}, r"file 1 was a,b\.jpg and is now x\.jpg"),
        ({"paths": PATHS[:1]}, r"file 2 was .* and is now missing"),
    ],
)
def test_resuming_requires_the_same_model_options_and_files(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    partial = interrupted(tmp_path / "a.csv", model="a")
    before = partial.read_bytes()
    with pytest.raises(ConfigError, match=message):
        write(tmp_path / "a.csv", resume=True, **{"model": "a", **options})
    assert partial.read_bytes() == before


def test_a_partial_file_of_unknown_origin_is_not_resumed(tmp_path: Path) -> None:
    partial = interrupted(tmp_path / "a.csv")
    Path(f"{partial}.json").unlink()
    with pytest.raises(RunFileError, match=r"a\.csv\.partial\.json: cannot be read"):
        write(tmp_path / "a.csv", resume=True)


def test_only_one_process_can_write_a_file(tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / ".a.csv.lock"), pytest.raises(RunFileError, match="another process"):
        write(tmp_path / "a.csv")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"missing/a\.csv: cannot be written"):
        write(tmp_path / "missing" / "a.csv")


def test_an_unsupported_suffix_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv, \.json, \.jsonl"):
        validate_prediction_path(tmp_path / "answers.xlsx", resume=False, overwrite=False)
    with pytest.raises(ConfigError, match="use only one"):
        validate_prediction_path(tmp_path / "answers.csv", resume=True, overwrite=True)
