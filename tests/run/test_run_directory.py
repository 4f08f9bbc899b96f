"""Files are whole or absent, and an earlier run is never lost by accident."""

import contextlib
import csv
import errno
import io
import json
import os

import pytest

from imgtrain.errors import RunFileError
from imgtrain.run.run_directory import (
    RunDirectory,
    atomic_write,
    read_json,
    render_csv,
    write_json,
    write_text,
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert files(tmp_path) == ["metrics.json"]


def test_a_full_disk_is_an_error_with_the_files_name(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFileError, match=r"history\.csv: cannot be written: No space left"):
        write_text(tmp_path / "history.csv", "x")
    assert files(tmp_path) == []


def test_the_file_aside_keeps_the_suffix_because_keras_goes_by_it(tmp_path):
    with atomic_write(tmp_path / "model.h5") as aside:
        assert aside.suffix == ".h5"
        assert aside.parent == tmp_path
        aside.write_bytes(b"x")


def test_json_is_read_back_and_damage_is_named(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"a": [1, 2.5], "b": "ü"})
    assert read_json(path) == {"a": [1, 2.5], "b": "ü"}
    path.write_text('{"a": ')
    with pytest.raises(RunFileError, match=r"run\.json: is corrupt"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(RunFileError, match="not a JSON object"):
        read_json(path)
    path.unlink()
    with pytest.raises(RunFileError, match=r"run\.json: cannot be read: No such file"):
        read_json(path)


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "run.json", {"loss": float("nan")})
    assert files(tmp_path) == []


def test_file_names_that_are_no_utf8_survive_csv(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_text(tmp_path / "x.csv", render_csv(["path"], [[name], ['a,"b"\n']]))
    text = (tmp_path / "x.csv").read_text(encoding="utf-8", errors="surrogateescape")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["path"], [name], ['a,"b"\n']]


def test_an_earlier_run_needs_overwrite_and_foreign_files_stay(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    write_json(run.run, {"status": "completed", "started": "2026-01-01T00:00:00+00:00", "model": "skin.h5"})
    for name in ("skin.h5", "metrics.json", "predictions-test.csv", "notes.txt"):
        (run.path / name).write_text("x")
    with pytest.raises(
        RunFileError, match=r"already contains a run \(completed, started 2026-01-01.*\n.*--overwrite"
    ):
        run.raise_if_taken(overwrite=False)
    assert (run.path / "skin.h5").exists()
    run.raise_if_taken(overwrite=True)
    run.clear()
    assert files(run.path) == ["notes.txt"]


def test_a_folder_that_is_no_run_is_never_touched(tmp_path):
    (tmp_path / "thesis.doc").write_text("x")
    with pytest.raises(RunFileError, match="an imgtrain run"):
        RunDirectory(tmp_path).raise_if_taken(overwrite=True)
    assert files(tmp_path) == ["thesis.doc"]


def test_an_output_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "run").write_text(json.dumps({}))
    with pytest.raises(RunFileError, match="is not writable"):
        RunDirectory(tmp_path / "run").raise_if_taken(overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFileError, match="is not writable: Permission denied"):
        RunDirectory(tmp_path / "run").create()


def test_a_directory_that_disappears_is_an_error(tmp_path):
    with pytest.raises(RunFileError, match="No such file"):
        write_text(tmp_path / "gone" / "history.csv", "x")


def test_files_are_written_with_few_handles_left_or_say_so(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(RunFileError, match="Too many open files"):
            write_text(tmp_path / "history.csv", "x")
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_leaves_no_folders_and_no_lock(tmp_path):
    (tmp_path / "runs").mkdir()
    run = RunDirectory(tmp_path / "runs/a/b")
    with contextlib.suppress(ZeroDivisionError), run.locked():
        assert run.path.is_dir()
        raise ZeroDivisionError
    assert files(tmp_path / "runs") == []
    with run.locked():
        write_json(run.run, {})
    assert files(run.path) == ["run.json"]


def test_a_folder_that_was_there_before_a_refused_run_stays(tmp_path):
    with RunDirectory(tmp_path).locked():
        pass
    assert tmp_path.is_dir()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    with (
        pytest.raises(RunFileError, match="is not writable: File name too long"),
        RunDirectory(tmp_path / ("x" * 300)).locked(),
    ):
        raise AssertionError
