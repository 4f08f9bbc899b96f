"""The run directory: every file name of a run, and writes that are whole or absent.

A reader of a run never sees half a file: everything is written aside in the same directory, flushed to the
disk, and renamed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from imgtrain.errors import InterruptedRunError, Problem, RunFileError

__all__ = [
    "RunDirectory",
    "atomic_write",
    "flush_to_disk",
    "now",
    "read_json",
    "render_csv",
    "write_json",
    "write_text",
]

CONFIG = "config.yaml"
RUN = "run.json"
DATA = "data.json"
HISTORY = "history.csv"
METRICS = "metrics.json"
LOG = "log.txt"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
PREDICTIONS = "predictions.csv"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"


class RunDirectory:
    """One run's folder. Opening it never creates anything; `create` does.

    Attributes:
        path: The folder, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / CONFIG

    @property
    def run(self) -> Path:
        """Status, seed, versions and the like."""
        return self.path / RUN

    @property
    def data(self) -> Path:
        """Which images were used."""
        return self.path / DATA

    @property
    def history(self) -> Path:
        """A row per epoch."""
        return self.path / HISTORY

    @property
    def metrics(self) -> Path:
        """The scores of validation and test, or of an evaluation."""
        return self.path / METRICS

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.path / REPORT

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard shows."""
        return self.path / TENSORBOARD

    @property
    def log(self) -> Path:
        """What was printed, without colour."""
        return self.path / LOG

    @property
    def checkpoints(self) -> Path:
        """The folder of what a killed run goes on from."""
        return self.path / CHECKPOINTS

    def predictions(self, split: str | None = None) -> Path:
        """The predictions of a split of the run; without one, those of a later evaluation."""
        return self.path / (f"predictions-{split}.csv" if split else PREDICTIONS)

    def model(self, name: str) -> Path:
        """The saved model, by the name that the configuration gives it."""
        return self.path / name

    def refuse_if_taken(self, *, overwrite: bool) -> None:
        """Do nothing if a new run may be written here.

        Raises:
            RunFileError: It holds a run already and `overwrite` is false, or it holds something that is no run.
        """
        try:
            taken = self.path.exists() and any(path.name != LOCK for path in self.path.iterdir())
        except OSError as error:
            raise self._unwritable(error) from None
        if not taken:
            return
        shown = str(self.path)
        if not self.run.exists():
            raise RunFileError(
                Problem(
                    shown,
                    "the output directory is not empty, and what it holds is not a run of imgtrain",
                    "choose another with --output or output.directory",
                )
            )
        if not overwrite:
            raise RunFileError(
                Problem(
                    shown,
                    f"holds a run already ({self._describe()})",
                    "use --resume to go on with it, --overwrite to replace it, or choose another directory "
                    "with --output",
                )
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it, so that no other process writes a run into it meanwhile.

        The system gives the lock up when the process ends, in whatever way: that of a dead one is free.

        Raises:
            RunFileError: Another run is being written here, or the folder cannot be written.
        """
        lock = filelock.FileLock(self.path / LOCK)
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise self._alive() from None
        except (OSError, NotImplementedError) as error:
            raise self._unwritable(error) from None
        try:
            yield
        finally:
            # Removed while it is still held: nobody else can be waiting for this very file.
            (self.path / LOCK).unlink(missing_ok=True)
            lock.release()
            # A run that was refused leaves no empty folders.
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()

    def refuse_if_evaluated(self, *, overwrite: bool) -> None:
        """Do nothing if the files of an evaluation may be written here.

        Raises:
            RunFileError: There is a run, whose scores they would replace; or there are such files and `overwrite` is
                false.
        """
        if self.run.exists():
            what = "holds a run, whose scores would be replaced"
            raise RunFileError(Problem(str(self.path), what, "choose another directory with --output"))
        present = [path.name for path in (self.metrics, self.predictions(), self.report) if path.exists()]
        if present and not overwrite:
            raise RunFileError(
                Problem(
                    str(self.path),
                    f"contains an evaluation already ({', '.join(present)})",
                    "use --overwrite to replace it, or choose another directory with --output",
                )
            )

    def create(self) -> None:
        """Make the folder, for the files of an evaluation, whatever else it holds.

        Raises:
            RunFileError: It cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from None

    @contextmanager
    def opened(self, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Keep `run.json` true while a run goes on: running, then completed, interrupted or failed.

        Args:
            facts: What `run.json` says from the beginning.

        Yields:
            What it will say in the end; to be filled in.
        """
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        content = {"status": "running", "started": now(), "finished": None, **facts, "process": process}
        write_json(self.run, content)
        try:
            yield content
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | InterruptedRunError)
            content["status"] = "interrupted" if stopped else "failed"
            content["error"] = str(error) or type(error).__name__
            content["finished"] = now()
            # The disk may be full; what is told is why the run ended.
            with suppress(RunFileError):
                write_json(self.run, content)
            raise
        content["status"] = "completed"
        content["finished"] = now()
        write_json(self.run, content)

    def read_run(self) -> dict[str, Any]:
        """Return the contents of `run.json`.

        Raises:
            RunFileError: It is missing or damaged.
        """
        return read_json(self.run)

    def _alive(self) -> RunFileError:
        process = {}
        with suppress(RunFileError):
            process = self.read_run().get("process", {})
        who = f" (process {process.get('pid')} on {process.get('host')})" if process else ""
        return RunFileError(
            Problem(
                str(self.path),
                f"another run is being written here{who}",
                "wait until it ends, or choose another directory with --output",
            )
        )

    def _unwritable(self, error: OSError | NotImplementedError) -> RunFileError:
        return RunFileError(
            Problem(
                str(self.path),
                f"the output directory cannot be written: {getattr(error, 'strerror', None) or error}",
                "choose another with --output or output.directory",
            )
        )

    def _describe(self) -> str:
        try:
            run = self.read_run()
        except RunFileError:
            return "its run.json is damaged"
        status = run.get("status", "of unknown status")
        if status == "running":
            status = "killed"  # No living process holds the lock.
        return f"{status}, started {run.get('started', 'at an unknown time')}"

    def clear(self) -> None:
        """Remove what a run writes, `run.json` last, so that an interrupted removal still shows as a run."""
        written = [CONFIG, DATA, HISTORY, METRICS, LOG, PREDICTIONS, REPORT]
        paths = [self.path / name for name in written]
        paths += [
            *self.path.glob("predictions-*.csv"),
            *self.path.glob("model.keras"),
            *self.path.glob("model.h5"),
        ]
        with suppress(RunFileError):
            if isinstance(name := self.read_run().get("model"), str) and name == Path(name).name:
                paths.append(self.path / name)
        paths += [path for path in self.checkpoints.glob("*") if path.suffix in (".json", ".arrays")]
        paths += self.tensorboard.glob("events.out.tfevents.*")
        for path in [*paths, self.run]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.checkpoints.rmdir()
        with suppress(OSError):
            self.tensorboard.rmdir()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    The temporary path has the same suffix, since Keras chooses the format by it.

    Raises:
        RunFileError: The disk is full, the folder is missing or cannot be written; nothing is left behind, and
            a file that stood at `path` stays as it was.
    """
    aside = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield aside
        flush_to_disk(aside)
        aside.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise RunFileError(Problem(str(path), f"cannot be written: {error.strerror or error}")) from error
    finally:
        # Where it could not be made, it cannot be removed either, and that is not what went wrong.
        with suppress(OSError):
            aside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all; bytes of file names that are no UTF-8 are kept as they are."""
    with atomic_write(path) as aside:
        aside.write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; NaN is refused, since it is no JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        RunFileError: The file is missing, damaged, or holds something else.
    """
    shown = str(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(Problem(shown, f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        raise RunFileError(Problem(shown, f"is damaged: {error}")) from None
    if not isinstance(content, dict):
        raise RunFileError(Problem(shown, "is damaged: holds no JSON object"))
    return content


def render_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV text with one line per row; floats are written so that reading gives the same number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def now() -> str:
    """Return the time in UTC as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
