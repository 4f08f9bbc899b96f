"""Write predictions row by row, so that an interrupted prediction can be resumed.

Rows are appended to `<output>.partial`, which is renamed when it is complete. `<output>.partial.json` records the model
and the options, so that only the same prediction can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import filelock

from imgtrain.errors import ConfigError, ImgtrainError, InterruptedRunError, Problem, RunFileError
from imgtrain.evaluation.prediction_formats import (
    FORMATS,
    FilePrediction,
    PredictionFormat,
    UnreadableFile,
    WrittenPrediction,
)
from imgtrain.run.run_directory import read_json, write_json
from imgtrain.run.system import flush_to_disk

__all__ = ["PredictionWriter", "prediction_writer", "validate_prediction_path"]


def validate_prediction_path(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that predictions may be written to a file.

    Raises:
        ConfigError: The suffix is not supported, or both `resume` and `overwrite` are set.
        RunFileError: The file or an interrupted prediction exists, and neither `resume` nor `overwrite` applies.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(Problem("--output", f"{path} must end in {', '.join(FORMATS)}"))
    if resume and overwrite:
        raise ConfigError("--resume continues a prediction and --overwrite replaces it: use only one of them")
    if not path.absolute().parent.is_dir():
        raise RunFileError(Problem(path, f"cannot be written: folder {path.parent} does not exist"))
    partial = _partial(path)
    if overwrite or (resume and partial.exists()):
        return
    if partial.exists():
        what = "contains the rows of an interrupted prediction"
        raise RunFileError(
            Problem(partial, what, "use --resume to continue it, or --overwrite to replace it")
        )
    if path.exists():
        what = "is complete: there is nothing to resume" if resume else "exists already"
        raise RunFileError(
            Problem(path, what, "use --overwrite to replace it, or choose another file with --output")
        )


class PredictionWriter:
    """Writes one row per file, in order.

    Attributes:
        earlier: Rows of the interrupted prediction, if it is resumed.
        done: Number of rows in the file.
    """

    def __init__(self, file: FileIO, rows: PredictionFormat, earlier: Sequence[WrittenPrediction]) -> None:
        self._file = file
        self._rows = rows
        self.earlier = tuple(earlier)
        self.done = len(earlier)
        if not earlier:
            self._put(rows.begin())

    def write(self, prediction: FilePrediction | UnreadableFile) -> None:
        """Write the row of the next file without buffering, so that it survives a crash of this process.

        Raises:
            RunFileError: The row cannot be written.
        """
        self._put(self._rows.row(prediction, first=not self.done))
        self.done += 1

    def finish(self) -> None:
        """Write the text after the last row.

        Raises:
            RunFileError: It cannot be written.
        """
        self._put(self._rows.end(empty=not self.done))

    def _put(self, text: str) -> None:
        content = memoryview(text.encode("utf-8", "surrogateescape"))
        with _explained(Path(self._file.name)):
            while content:
                content = content[self._file.write(content) :]


@contextmanager
def prediction_writer(
    path: Path,
    paths: Sequence[str],
    class_names: Sequence[str],
    *,
    top: int | None = None,
    model: str = "",
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[PredictionWriter]:
    """Context manager for writing predictions; on an error, rows written so far are kept in the partial file.

    Args:
        path: Ends in `.csv`, `.json` or `.jsonl`.
        paths: The files to predict, in order.
        class_names: In label order.
        top: Number of most probable classes to write; None writes the probability of every class.
        model: Identifies the model, such as a hash of its file.
        resume: Continue after the last complete row of an interrupted prediction, if there is one.
        overwrite: Replace existing files, including those of an interrupted prediction.

    Raises:
        ConfigError: See `validate_prediction_path`; or the interrupted prediction had another model, `top` or files.
        RunFileError: See `validate_prediction_path`; or the file cannot be written, or another process writes it.
        InterruptedRunError: KeyboardInterrupt was raised inside the block.
    """
    partial, identity = _partial(path), _identity(path)
    rows = FORMATS[path.suffix.lower()](class_names, top)
    validate_prediction_path(path, resume=resume, overwrite=overwrite)
    with ExitStack() as stack:
        with _explained(path):
            stack.enter_context(_locked(path))
            # Check again: another process may have written it before the lock was acquired.
            validate_prediction_path(path, resume=resume, overwrite=overwrite)
            earlier = _prepare(partial, identity, rows, paths, {"model": model, "top": top}, resume=resume)
            file = stack.enter_context(partial.open("ab", buffering=0))
            writer = PredictionWriter(file, rows, earlier)
        try:
            yield writer
            writer.finish()
        except BaseException as error:
            if writer.done:
                _add_resume_hint(error, partial, writer.done, len(paths))
            else:
                file.close()
                partial.unlink()
                identity.unlink()
            raise
        with _explained(path):
            file.close()
            flush_to_disk(partial)
            partial.replace(path)
            flush_to_disk(path.parent)
            identity.unlink()


def _prepare(
    partial: Path,
    identity: Path,
    rows: PredictionFormat,
    paths: Sequence[str],
    options: Mapping[str, Any],
    *,
    resume: bool,
) -> list[WrittenPrediction]:
    """Truncate the partial file after its last complete row, and return its rows."""
    earlier: list[WrittenPrediction] = []
    end = 0
    if resume and partial.exists():
        _validate_options(options, partial, identity)
        with partial.open("rb") as file:
            for row, end in rows.read(file):  # noqa: B007 (used after the loop)
                earlier.append(row)
        _validate_files(earlier, paths, partial)
    else:
        write_json(identity, options)
    with partial.open("ab") as file:
        file.truncate(end)
    return earlier


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _identity(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial.json")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        hint = "wait until it has finished, or choose another file with --output"
        raise RunFileError(Problem(path, "another process is writing this file", hint)) from None
    try:
        yield
    finally:
        # Removed before it is released, because no process waits for the lock: they fail at once.
        # Windows cannot remove it then; there, releasing it does.
        with suppress(PermissionError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFileError(Problem(path, f"cannot be written: {reason}")) from error


def _add_resume_hint(error: BaseException, partial: Path, done: int, total: int) -> None:
    """Raise an error that is shown to the user again, with the location of the rows."""
    what = f"contains the predictions for {done:,} of {total:,} files"
    kept = Problem(partial, what, "use --resume to continue, or --overwrite to start over")
    if isinstance(error, KeyboardInterrupt):
        raise InterruptedRunError([Problem("", "interrupted"), kept]) from None
    if isinstance(error, ImgtrainError):
        raise type(error)([*error.problems, kept]) from error.__cause__


def _validate_options(options: Mapping[str, Any], partial: Path, identity: Path) -> None:
    written = read_json(identity)
    top = written.get("top")
    words = {"model": "another model", "top": f"--top {top}" if top else "no --top"}
    if different := [words[name] for name in options if written.get(name) != options[name]]:
        hint = "resume with the same model and options, or use --overwrite to start over"
        raise ConfigError(Problem(partial, f"was written with {' and '.join(different)}", hint))


def _validate_files(earlier: Sequence[WrittenPrediction], paths: Sequence[str], partial: Path) -> None:
    for position, row in enumerate(earlier):
        now = paths[position] if position < len(paths) else "missing"
        if row.path != now:
            what = f"was written for other files: file {position + 1:,} was {row.path} and is now {now}"
            hint = "resume with the same files, or use --overwrite to start over"
            raise ConfigError(Problem(partial, what, hint))
