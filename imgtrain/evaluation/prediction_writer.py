"""The file of a long prediction: what is answered is on disk, and an interrupted prediction can be continued.

Rows are written to a file beside the final one, whose beginning they are: `answers.csv.partial`. It is renamed when
the last row is in it. A JSON file next to it says which model and options wrote it, so that no other continues it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from imgtrain.run.run_directory import flush_to_disk, read_json, write_json

__all__ = ["PredictionWriter", "check_prediction_path", "prediction_writer"]


def check_prediction_path(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Do nothing if predictions may be written to a file.

    Raises:
        ConfigError: Its suffix is that of no format, or both `resume` and `overwrite` are asked for.
        RunFileError: It exists, or an unfinished prediction does, and it is not said what becomes of it.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(Problem("--output", f"{path} ends in none of {', '.join(FORMATS)}"))
    if resume and overwrite:
        raise ConfigError("--resume continues a prediction and --overwrite replaces it: choose one")
    if not path.absolute().parent.is_dir():
        raise RunFileError(Problem(path, f"cannot be written: there is no folder {path.parent}"))
    partial = _partial(path)
    if overwrite or (resume and partial.exists()):
        return
    if partial.exists():
        what = "contains the answers of a prediction that was interrupted"
        raise RunFileError(
            Problem(partial, what, "use --resume to continue it, or --overwrite to replace it")
        )
    if path.exists():
        what = "is complete: there is nothing to resume" if resume else "exists already"
        raise RunFileError(
            Problem(path, what, "use --overwrite to replace it, or choose another file with --output")
        )


class PredictionWriter:
    """Writes a row for each of some files, in their order.

    Attributes:
        earlier: The rows that an interrupted prediction has written, those of the first files.
        done: How many files have a row.
    """

    def __init__(self, file: FileIO, rows: PredictionFormat, earlier: Sequence[WrittenPrediction]) -> None:
        self._file = file
        self._rows = rows
        self.earlier = tuple(earlier)
        self.done = len(earlier)
        if not earlier:
            self._put(rows.begin())

    def write(self, answer: FilePrediction | UnreadableFile) -> None:
        """Write the row of the next file; it survives whatever happens to this process.

        Raises:
            RunFileError: It cannot be written.
        """
        self._put(self._rows.row(answer, first=not self.done))
        self.done += 1

    def finish(self) -> None:
        """Write what comes after the last row, as `write` does."""
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
    """Give a writer; the file appears when the block ends well, and the rows written so far stay if it does not.

    Args:
        path: Ends in `.csv`, `.json` or `.jsonl`.
        paths: Every file that will have a row, in order.
        class_names: In label order.
        top: Write only so many of the most probable classes; None writes the probability of every class.
        model: What tells the model from others, such as a hash of its file.
        resume: Continue after the last whole row of an interrupted prediction; begin if there is none.
        overwrite: Replace an earlier file, an unfinished one included.

    Raises:
        ConfigError: As `check_prediction_path`, or the interrupted prediction had another model, `top` or files.
        RunFileError: As `check_prediction_path`; it cannot be written; or another process is writing it.
        InterruptedRunError: For a KeyboardInterrupt within the block.
    """
    partial, identity = _partial(path), _identity(path)
    rows = FORMATS[path.suffix.lower()](class_names, top)
    check_prediction_path(path, resume=resume, overwrite=overwrite)
    with ExitStack() as stack:
        with _explained(path):
            stack.enter_context(_locked(path))
            # Again: until now another process may have been writing it.
            check_prediction_path(path, resume=resume, overwrite=overwrite)
            earlier = _prepare(partial, identity, rows, paths, {"model": model, "top": top}, resume=resume)
            file = stack.enter_context(partial.open("ab", buffering=0))
            writer = PredictionWriter(file, rows, earlier)
        try:
            yield writer
            writer.finish()
        except BaseException as error:
            if writer.done:
                _say_what_is_kept(error, partial, writer.done, len(paths))
            else:
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
    asked: Mapping[str, Any],
    *,
    resume: bool,
) -> list[WrittenPrediction]:
    """Make the partial file end with the last whole row that can be kept, and return those rows."""
    earlier: list[WrittenPrediction] = []
    end = 0
    if resume and partial.exists():
        _refuse_other(asked, partial, identity)
        with partial.open("rb") as file:
            for row, end in rows.read(file):  # noqa: B007 (of the last one)
                earlier.append(row)
        _refuse_other_files(earlier, paths, partial)
    else:
        write_json(identity, asked)
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
        hint = "wait until it ends, or choose another file with --output"
        raise RunFileError(Problem(path, "another process is writing it", hint)) from None
    try:
        yield
    finally:
        # Removed while it is still held: nobody else can be waiting for this very file.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFileError(Problem(path, f"cannot be written: {reason}")) from error


def _say_what_is_kept(error: BaseException, partial: Path, done: int, total: int) -> None:
    """Raise the error again with where the rows are, if it is one that is shown to the user."""
    what = f"contains the answers for {done:,} of {total:,} files"
    kept = Problem(partial, what, "use --resume to continue, or --overwrite to start over")
    if isinstance(error, KeyboardInterrupt):
        raise InterruptedRunError([Problem("", "interrupted"), kept]) from None
    if isinstance(error, ImgtrainError):
        raise type(error)([*error.problems, kept]) from error.__cause__


def _refuse_other(asked: Mapping[str, Any], partial: Path, identity: Path) -> None:
    written = read_json(identity)
    words = {"model": "another model", "top": f"--top {written.get('top') or 'left out'}"}
    if differs := [words[name] for name in asked if written.get(name) != asked[name]]:
        hint = "resume with the same model and options, or use --overwrite to start over"
        raise ConfigError(Problem(partial, f"was written with {' and '.join(differs)}", hint))


def _refuse_other_files(earlier: Sequence[WrittenPrediction], paths: Sequence[str], partial: Path) -> None:
    for number, row in enumerate(earlier):
        now = paths[number] if number < len(paths) else "none"
        if row.path != now:
            raise ConfigError(
                Problem(
                    partial,
                    f"is for other files: file {number + 1:,} was {row.path} and is now {now}",
                    "resume with the same files, or use --overwrite to start over",
                )
            )
