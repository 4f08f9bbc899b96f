"""Finds the run to resume, and checks that its configuration and images match."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
from imgtrain.training.run_settings import FREE_KEYS, describe_config_file

__all__ = [
    "EarlierRun",
    "adding_resume_hint",
    "describe_origin",
    "describe_resumption",
    "find_earlier_run",
    "find_start",
    "validate_same_images",
]

# Changing it begins a new stage of training.
_LEARNING_RATE = "training.optimizer.learning_rate"
_ABSENT = object()


@dataclass(frozen=True, slots=True, eq=False)
class EarlierRun:
    """A run to resume.

    Attributes:
        facts: The contents of its `run.json`.
        checkpoint: The checkpoint to resume from; None if there is none, and the run starts again.
        is_complete: Whether the run is already completed.
        changes: The value before and now of every key that was changed for the rest of the training.
    """

    facts: Mapping[str, Any]
    checkpoint: Checkpoint | None
    is_complete: bool = False
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def is_new_stage(self) -> bool:
        """Whether training continues in another way than an uninterrupted run would have."""
        return _LEARNING_RATE in self.changes

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
    earlier_config = _load_earlier_config(run, checkpoint)
    changes = {} if earlier_config is None else _find_changes(config, earlier_config, run.path)
    if completed:
        more = earlier_config is not None and _epochs(to_plain(config)) > _epochs(earlier_config)
        if not more or facts.get("stopped_early"):
            _raise_if_never_used(config, changes, stopped_early=bool(facts.get("stopped_early")))
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
        return EarlierRun(facts, None)
    earlier = EarlierRun(facts, checkpoint, changes=changes)
    if changes:
        _announce(earlier, emit)
    return earlier


def find_start(earlier: EarlierRun, asked: Path | None) -> Path | None:
    """Return the model that the run to resume started from; None if it started with new weights.

    Args:
        earlier: The run to resume.
        asked: The model given now, or None.

    Raises:
        ConfigError: The run started from another model.
    """
    before = earlier.facts.get("started_from")
    if asked is not None and str(asked) != before:
        began = "new weights" if before is None else before
        what = f"the run to resume started with {began}; got {asked}"
        raise ConfigError(
            Problem("--from", what, "omit --from, or start a new run with --output or --overwrite")
        )
    return None if before is None else Path(before)


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


def describe_resumption(config: Config, run: RunDirectory, earlier: EarlierRun | None) -> dict[str, Any]:
    """Return the `run.json` entries about the configuration file and, for a resumed run, its beginning and changes."""
    if earlier is None:
        return describe_config_file(config, run, {})
    facts = earlier.facts
    described = describe_config_file(config, run, facts)
    if "planned" in facts:
        # The plan for the time budget must survive several interruptions.
        described["planned"] = facts["planned"]
    if earlier.checkpoint is None:
        return described
    described |= {"started": facts.get("started"), "resumed": [*facts.get("resumed", []), now()]}
    changes = facts.get("changes", [])
    if earlier.changes:
        place = _place(earlier.checkpoint)
        changed = {key: {"from": before, "to": after} for key, (before, after) in earlier.changes.items()}
        change = {**place, "changed": changed, "bit_identical": not earlier.is_new_stage}
        # Not those of a process that was killed before its first checkpoint.
        kept = [entry for entry in changes if (entry["epoch"], entry["batch"]) < tuple(place.values())]
        changes = [*kept, change]
    return {**described, "changes": changes} if changes else described


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


def _load_earlier_config(run: RunDirectory, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Return the configuration of an earlier run as plain values; None if it wrote none."""
    if checkpoint is not None:
        return dict(checkpoint.origin["config"])
    return to_plain(load_config(run.config)) if run.config.exists() else None


def _place(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the epoch and batch, counted from 1, that a checkpoint continues with."""
    position = checkpoint.progress["position"]
    return {"epoch": position["epoch"] + 1, "batch": position["step"] + 1}


def _announce(earlier: EarlierRun, emit: Emit) -> None:
    """Emit what has changed, and what becomes of the promise of bit-identical results."""
    assert earlier.checkpoint is not None
    listed = ", ".join(
        f"{key} is {_format(after)} (was {_format(before)})"
        for key, (before, after) in earlier.changes.items()
    )
    if not earlier.is_new_stage:
        emit(Message(f"changed: {listed}"))
        return
    place = _place(earlier.checkpoint)
    emit(
        Message(
            f"a new stage begins at epoch {place['epoch']}, batch {place['batch']}: {listed}; the result will differ "
            "from that of a run with either setting from the beginning",
            "warning",
        )
    )


def _format(value: Any) -> str:
    return "the default" if value is _ABSENT or value is None else format_value(value)


def _raise_if_never_used(
    config: Config, changes: Mapping[str, tuple[Any, Any]], *, stopped_early: bool
) -> None:
    """Raise an error if the learning rate was changed, but there is nothing left to train."""
    if _LEARNING_RATE not in changes:
        return
    where = config.where(*_LEARNING_RATE.split("."))
    if stopped_early:
        what = "cannot be changed: the run was stopped early, and its checkpoints were deleted"
        raise ConfigError(
            Problem(where, what, "start a new run with its weights: --from RUN --output NEW_RUN")
        )
    what = "cannot be changed: all epochs are trained"
    raise ConfigError(Problem(where, what, "increase training.epochs as well to continue with it"))


def _with_named_optimizer(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration with `optimizer: adam` written as `{name: adam}`."""
    training = plain["training"]
    if not isinstance(training["optimizer"], str):
        return plain
    return {**plain, "training": {**training, "optimizer": {"name": training["optimizer"]}}}


def _find_changes(
    config: Config, earlier_config: Mapping[str, Any], where: Path
) -> dict[str, tuple[Any, Any]]:
    """Return the value before and now of every changed key that may change.

    Raises:
        ConfigError: Other keys have changed.
    """
    problems = []
    changes: dict[str, tuple[Any, Any]] = {}
    for path, before, after in _differences(
        _with_named_optimizer(earlier_config), _with_named_optimizer(to_plain(config))
    ):
        key = ".".join(map(str, path))
        # A schedule spans all epochs: with more epochs, earlier batches would have had other learning rates.
        # Only the last stage can be extended.
        training = config.training
        last = "training.epochs" if training.fine_tune is None else "training.fine_tune.epochs"
        longer = key == last and after >= before and training.schedule is None
        if key in FREE_KEYS:
            continue
        if longer or (key == _LEARNING_RATE and training.schedule is None and training.fine_tune is None):
            changes[key] = (None if before is _ABSENT else before, None if after is _ABSENT else after)
            continue
        if before is _ABSENT and after == _default(path):
            continue  # a key that the earlier run's version of imgtrain did not have
        was = "is not set" if before is _ABSENT else f"is {format_value(before)}"
        what = "is not set" if after is _ABSENT else f"is {format_value(after)}"
        problems.append(Problem(config.where(*path), f"{what}; in the run to resume it {was}"))
    if problems:
        hint = (
            "restore it, or start a new run with --output or --overwrite; without a schedule, the number of epochs can "
            "be increased and the learning rate changed; --from starts a new run with the weights of this one"
        )
        raise ConfigError([*problems, Problem(where, "was trained with a different configuration", hint)])
    return changes


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
        listed = [f"{len(paths):,} {kind}, first {paths[0]}" for kind, paths in kinds.items() if paths]
        if listed:
            yield Problem(name, f"of {len(old):,} images {'; '.join(listed)}")


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
