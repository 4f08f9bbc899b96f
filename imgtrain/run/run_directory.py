"""The run directory: the names of its files, and atomic writes.

All files are written to a temporary file in the same directory, flushed to disk, and renamed, so readers never see
incomplete files.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from imgtrain.errors import InterruptedRunError, Problem, RunFileError
from imgtrain.run.system import flush_to_disk

__all__ = [
    "RunDirectory",
    "atomic_folder",
    "atomic_write",
    "now",
    "read_json",
    "render_csv",
    "write_json",
    "write_text",
]

LOCK = ".lock"


class RunDirectory:
    """The directory of a run. Only `create` and `locked` create it.

    Attributes:
        path: The folder, absolute.
        config: The resolved configuration.
        run: Status, seed, versions and other facts.
        data: The images of every split.
        history: The metrics of every epoch.
        metrics: The scores of validation and test, or of an evaluation.
        report: The HTML report.
        exports: The models exported from the run, with their accuracy and latency.
        tensorboard: The TensorBoard logs.
        log: The printed output without colors.
        checkpoints: The folder of checkpoints.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.config = self.path / "config.yaml"
        self.run = self.path / "run.json"
        self.data = self.path / "data.json"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.report = self.path / "report.html"
        self.exports = self.path / "export.json"
        self.tensorboard = self.path / "tensorboard"
        self.log = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"

    def predictions(self, split: str | None = None) -> Path:
        """The predictions for a split; without a split, those of an evaluation."""
        return self.path / (f"predictions-{split}.csv" if split else "predictions.csv")

    def model(self, name: str) -> Path:
        """The saved model with the name given in the configuration."""
        return self.path / name

    def raise_if_taken(self, *, overwrite: bool) -> None:
        """Raise an error if a new run must not be written here.

        Raises:
            RunFileError: The directory contains a run and `overwrite` is false, or other files.
        """
        try:
            taken = self.path.exists() and any(path.name != LOCK for path in self.path.iterdir())
        except OSError as error:
            raise self._unwritable(error) from None
        if not taken:
            return
        if not self.run.exists():
            raise RunFileError(
                Problem(
                    self.path,
                    "the output directory is not empty and doesn't contain an imgtrain run",
                    "choose another directory with --output or output.directory",
                )
            )
        if not overwrite:
            raise RunFileError(
                Problem(
                    self.path,
                    f"already contains a run ({self._describe()})",
                    "use --resume to continue it, --overwrite to replace it, or choose another directory "
                    "with --output",
                )
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and lock it against other processes.

        The operating system releases the lock when the process ends, so stale locks are ignored.

        Raises:
            RunFileError: Another run is active, or the directory is not writable.
        """
        lock = filelock.FileLock(self.path / LOCK)
        try:
            made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise self._alive() from None
        except (OSError, NotImplementedError) as error:
            raise self._unwritable(error) from None
        try:
            yield
        finally:
            # Remove it while holding the lock: no other process can be waiting for this file.
            # Windows cannot remove it then; there, releasing it does.
            with suppress(PermissionError):
                (self.path / LOCK).unlink(missing_ok=True)
            lock.release()
            # Don't leave empty folders behind.
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()

    def raise_if_evaluated(self, *, overwrite: bool) -> None:
        """Raise an error if the files of an evaluation must not be written here.

        Raises:
            RunFileError: The directory contains a run, whose scores would be replaced, or an evaluation and
                `overwrite` is false.
        """
        if self.run.exists():
            what = "contains a run, whose scores would be replaced"
            raise RunFileError(Problem(self.path, what, "choose another directory with --output"))
        present = [path.name for path in (self.metrics, self.predictions(), self.report) if path.exists()]
        if present and not overwrite:
            raise RunFileError(
                Problem(
                    self.path,
                    f"already contains an evaluation ({', '.join(present)})",
                    "use --overwrite to replace it, or choose another directory with --output",
                )
            )

    def create(self) -> None:
        """Create the directory for the files of an evaluation.

        Raises:
            RunFileError: It is not writable.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from None

    @contextmanager
    def opened(self, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Keep the status in `run.json` up to date: running, then completed, interrupted or failed.

        Args:
            facts: Initial contents of `run.json`.

        Yields:
            The contents that will be written at the end; can be modified.
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
            # The disk may be full: report the original error.
            with suppress(RunFileError):
                write_json(self.run, content)
            raise
        content["status"] = "completed"
        content["finished"] = now()
        write_json(self.run, content)

    def read_run(self) -> dict[str, Any]:
        """Return the contents of `run.json`.

        Raises:
            RunFileError: It is missing or corrupt.
        """
        return read_json(self.run)

    def _alive(self) -> RunFileError:
        process = {}
        with suppress(RunFileError):
            process = self.read_run().get("process", {})
        who = f" (process {process.get('pid')} on {process.get('host')})" if process else ""
        return RunFileError(
            Problem(
                self.path,
                f"another run is active in this directory{who}",
                "wait until it ends, or choose another directory with --output",
            )
        )

    def _unwritable(self, error: OSError | NotImplementedError) -> RunFileError:
        return RunFileError(
            Problem(
                self.path,
                f"the output directory is not writable: {getattr(error, 'strerror', None) or error}",
                "choose another directory with --output or output.directory",
            )
        )

    def _describe(self) -> str:
        try:
            run = self.read_run()
        except RunFileError:
            return "its run.json is corrupt"
        status = run.get("status", "unknown status")
        if status == "running":
            status = "killed"  # No living process holds the lock.
        return f"{status}, started {run.get('started', 'at an unknown time')}"

    def clear(self) -> None:
        """Remove the files of a run, `run.json` last, so that it is still recognized if the removal is interrupted."""
        paths = [
            *(self.config, self.data, self.history, self.metrics, self.log, self.report, self.predictions()),
            *self.path.glob("predictions-*.csv"),
            *self.path.glob("model.keras"),
            *self.path.glob("model.h5"),
        ]
        with suppress(RunFileError):
            if isinstance(name := self.read_run().get("model"), str) and name == Path(name).name:
                paths.append(self.path / name)
        paths += self._exported_files()
        paths += [path for path in self.checkpoints.glob("*") if path.suffix in (".json", ".arrays")]
        paths += self.tensorboard.glob("events.out.tfevents.*")
        for path in [*paths, self.run]:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.checkpoints.rmdir()
        with suppress(OSError):
            self.tensorboard.rmdir()

    def _exported_files(self) -> list[Path]:
        """Return `export.json` and the exported models in this directory; removes SavedModels, which are folders."""
        names: list[str] = []
        with suppress(RunFileError):
            names = [name for name in read_json(self.exports) if name == Path(name).name and name != ".."]
        for name in names:
            if (self.path / name / "saved_model.pb").is_file():
                shutil.rmtree(self.path / name)
        files = [self.path / file for name in names for file in (name, f"{name}.json")]
        return [self.exports, *(file for file in files if not file.is_dir())]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` if the block succeeds.

    The temporary path has the same suffix, by which Keras chooses the format.

    Raises:
        RunFileError: The disk is full, or the folder is missing or not writable. The temporary file is removed, and
            an existing file at `path` is not changed.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise RunFileError(Problem(path, f"cannot be written: {error.strerror or error}")) from error
    finally:
        # If it could not be created, it cannot be removed either; report the original error.
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a folder to create next to `path`, which it replaces if the block succeeds.

    Raises:
        RunFileError: The disk is full, or the parent folder is missing or not writable. The temporary folder is
            removed, and an existing folder at `path` is not changed.
    """
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    replaced = path.with_name(f"{temporary.name}-old")
    try:
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            flush_to_disk(file)
        # A folder cannot be replaced in one step unless it is empty.
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise RunFileError(Problem(path, f"cannot be written: {error.strerror or error}")) from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically; bytes of file names that are not valid UTF-8 are kept."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; raises ValueError for NaN, which JSON doesn't support."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        RunFileError: The file is missing or corrupt, or doesn't contain an object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(Problem(path, f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        raise RunFileError(Problem(path, f"is corrupt: {error}")) from None
    if not isinstance(content, dict):
        raise RunFileError(Problem(path, "is corrupt: not a JSON object"))
    return content


def render_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV text with one line per row; floats are written with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def now() -> str:
    """Return the current UTC time in ISO 8601 with a resolution of seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
