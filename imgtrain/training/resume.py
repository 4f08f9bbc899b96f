"""Finds the run to resume, and checks that its configuration and images match."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from imgtrain.config.load import load_config, parse_config
from imgtrain.config.render import to_plain
from imgtrain.config.schema import Config
from imgtrain.config.wording import format_value
from imgtrain.errors import ConfigError, DataError, InterruptedRunError, Problem, RunFileError
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.run_directory import RunDirectory, now, read_json
from imgtrain.training.checkpoint_store import Checkpoint, CheckpointStore

__all__ = [
    "EarlierRun",
    "adding_resume_hint",
    "describe_origin",
    "describe_resumption",
    "find_earlier_run",
    "validate_same_images",
]

# Keys that affect paths or speed, but not the results. The images are compared by their contents.
_FREE = {
    "data.train",
    "data.validation",
    "data.test",
    "data.split_file",
    "data.labels.file",
    "data.cache",
    "data.cache_directory",
    "training.checkpoint_minutes",
    "training.tensorboard",
    "training.mlflow",
    "output.directory",
}
_ABSENT = object()


@dataclass(frozen=True, slots=True, eq=False)
class EarlierRun:
    """A run to resume.

    Attributes:
        facts: The contents of its `run.json`.
        checkpoint: The checkpoint to resume from; None if there is none, and the run starts again.
        is_complete: Whether the run is already completed.
    """

    facts: Mapping[str, Any]
    checkpoint: Checkpoint | None
    is_complete: bool = False

    def origin(self, name: str) -> Any:
        """Return a value from the checkpoint's origin; None without a checkpoint."""
        return None if self.checkpoint is None else self.checkpoint.origin.get(name)


def find_earlier_run(config: Config, run: RunDirectory, emit: Emit = ignore) -> EarlierRun | None:
    """Return the run to resume; None if the directory does not contain one.

    Args:
        config: The current configuration, with defaults.
        run: The run directory.
        emit: Called with messages.

    Raises:
        ConfigError: The run was trained with a different configuration; lists every key that differs.
        RunFileError: Files of the run are damaged or missing.
    """
    if not run.run.exists():
        emit(Message(f"no run to resume in {run.path}; starting a new run"))
        return None
    facts = run.read_run()
    completed = facts.get("status") == "completed"
    checkpoint = CheckpointStore(run.checkpoints).load(emit)
    asked = _asked_earlier(run, checkpoint)
    if asked is not None:
        _raise_if_changed(config, asked, run.path)
    if completed:
        more = asked is not None and _epochs(to_plain(config)) > _epochs(asked)
        if not more or facts.get("stopped_early"):
            return EarlierRun(facts, checkpoint, is_complete=True)
        if checkpoint is None:
            raise RunFileError(
                Problem(
                    run.path,
                    "the run is completed, but its checkpoint is missing",
                    "train again with --overwrite",
                )
            )
    if checkpoint is None:
        emit(Message(f"the run in {run.path} has no checkpoint yet; starting from the first epoch"))
    return EarlierRun(facts, checkpoint)


def validate_same_images(
    earlier: EarlierRun, run: RunDirectory, fingerprint: str, describe: Callable[[], Mapping[str, Any]]
) -> None:
    """Check that the images are those that the earlier run was trained on.

    Args:
        earlier: The run to resume.
        run: The run directory.
        fingerprint: Fingerprint of the current images.
        describe: Returns the contents of `data.json` for the current images.

    Raises:
        DataError: The images differ; describes the changes of every split.
    """
    if earlier.origin("data_fingerprint") in (None, fingerprint):
        return
    problems = []
    what, hint = "was trained on different images", "restore the images, or start a new run"
    with suppress(RunFileError, KeyError, TypeError, AttributeError):
        before, after = read_json(run.data)["splits"], describe()["splits"]
        problems = list(_changed_splits(before, after))
        if _divided_differently(before, after):
            what = "was trained on the same images, but with a different validation split"
            hint = "a validation split now keeps images with identical pixels together: start a new run"
    raise DataError([*problems, Problem(run.path, what, f"{hint} with --output or --overwrite")])


def describe_origin(config: Config, fingerprint: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the origin that all checkpoints of a run share: configuration, data fingerprint and run facts."""
    return {"config": to_plain(config), "data_fingerprint": fingerprint, **facts}


def describe_resumption(earlier: EarlierRun | None) -> dict[str, Any]:
    """Return the `run.json` entries of a resumed run; empty for a new run."""
    if earlier is None:
        return {}
    # The plan for the time budget must survive several interruptions.
    kept = {name: earlier.facts[name] for name in ("planned",) if name in earlier.facts}
    if earlier.checkpoint is None:
        return kept
    return {
        **kept,
        "started": earlier.facts.get("started"),
        "resumed": [*earlier.facts.get("resumed", []), now()],
    }


@contextmanager
def adding_resume_hint(run: RunDirectory) -> Iterator[None]:
    """Add the command that resumes the run to errors that end it, if there is a checkpoint.

    Raises:
        ImgtrainError: The original error with the hint added; InterruptedRunError for Ctrl-C.
    """
    try:
        yield
    except (InterruptedRunError, DataError, RunFileError) as error:
        if not CheckpointStore(run.checkpoints):
            raise
        raise type(error)([*error.problems, _way_on(run)]) from error
    except KeyboardInterrupt:
        if not CheckpointStore(run.checkpoints):
            raise
        raise InterruptedRunError([Problem("", "interrupted"), _way_on(run)]) from None


def _way_on(run: RunDirectory) -> Problem:
    command = f"imgtrain train {shlex.quote(str(run.config))} --resume"
    return Problem("", "training progress is saved", f"resume with: {command}")


def _asked_earlier(run: RunDirectory, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Return the configuration of an earlier run as plain values; None if it wrote none."""
    if checkpoint is not None:
        return dict(checkpoint.origin["config"])
    return to_plain(load_config(run.config)) if run.config.exists() else None


def _raise_if_changed(config: Config, asked: Mapping[str, Any], where: Path) -> None:
    problems = []
    for path, before, after in _differences(asked, to_plain(config)):
        key = ".".join(map(str, path))
        # A schedule spans all epochs: with more epochs, earlier batches would have had other learning rates.
        # Only the last stage can be extended.
        last = "training.epochs" if config.training.fine_tune is None else "training.fine_tune.epochs"
        longer = key == last and after >= before and config.training.schedule is None
        if key in _FREE or longer:
            continue
        if before is _ABSENT and after == _default(path):
            continue  # a key that the earlier run's version of imgtrain did not have
        was = "is not set" if before is _ABSENT else f"is {format_value(before)}"
        what = "is not set" if after is _ABSENT else f"is {format_value(after)}"
        problems.append(Problem(config.where(*path), f"{what}; in the run to resume it {was}"))
    if problems:
        hint = "restore it, or start a new run with --output or --overwrite; only `epochs` can be increased"
        raise ConfigError([*problems, Problem(where, "was trained with a different configuration", hint)])


def _epochs(config: Mapping[str, Any]) -> int:
    """Return the maximum number of epochs of all stages."""
    training = config["training"]
    later = training.get("fine_tune")
    return int(training["epochs"]) + (0 if later is None else int(later["epochs"]))


def _default(path: tuple[str | int, ...]) -> Any:
    """Return the default value of a key."""
    value: Any = to_plain(parse_config({"data": {"train": "."}}))
    for key in path:
        value = value[key] if isinstance(value, Mapping) and key in value else _ABSENT
    return value


def _differences(
    before: Any, after: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Yield (path, value before, value after) for every difference between two nested values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key, _ABSENT), after.get(key, _ABSENT), (*path, key))
    elif path == ("model", "layers"):
        for number, (layer_before, layer_after) in enumerate(zip_longest(before, after, fillvalue=_ABSENT)):
            yield from _differences(layer_before, layer_after, (*path, number))
    elif before != after:
        yield path, before, after


def _changed_splits(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Problem]:
    for name in dict.fromkeys([*before, *after]):
        old, new = (_images_by_path(splits.get(name)) for splits in (before, after))
        kinds = {
            "missing": [path for path in old if path not in new],
            "new": [path for path in new if path not in old],
            "changed": [path for path in old if path in new and old[path] != new[path]],
        }
        said = [f"{len(paths):,} {kind}, first {paths[0]}" for kind, paths in kinds.items() if paths]
        if said:
            yield Problem(name, f"of {len(old):,} images {'; '.join(said)}")


def _divided_differently(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return whether only the assignment of images to training and validation differs."""

    def images(splits: Mapping[str, Any], *names: str) -> list[tuple[str, tuple[str, str]]]:
        return sorted(image for name in names for image in _images_by_path(splits.get(name)).items())

    return all(
        images(before, *names) == images(after, *names) for names in (("train", "validation"), ("test",))
    )


def _images_by_path(split: Mapping[str, Any] | None) -> dict[str, tuple[str, str]]:
    images = [] if split is None else split["images"]
    return {image["path"]: (image["class"], image["digest"]) for image in images}
