"""What an earlier run left, and whether the present configuration and images may go on with it."""

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
    "check_same_images",
    "describe_origin",
    "describe_resumption",
    "find_earlier_run",
]

# Keys that change where a run stands or how fast it is, and not what comes out. The images themselves are compared.
_FREE = {
    "data.train",
    "data.validation",
    "data.test",
    "data.split_file",
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
    """A run that may go on.

    Attributes:
        facts: The contents of its `run.json`.
        checkpoint: Where it goes on; None if it came to none, and begins again.
        is_complete: Whether nothing is left to do.
    """

    facts: Mapping[str, Any]
    checkpoint: Checkpoint | None
    is_complete: bool = False

    def origin(self, name: str) -> Any:
        """Return what the checkpoint says of the run; None without a checkpoint."""
        return None if self.checkpoint is None else self.checkpoint.origin.get(name)


def find_earlier_run(config: Config, run: RunDirectory, emit: Emit = ignore) -> EarlierRun | None:
    """Return the run in a directory that `config` may go on with; None if there is none.

    Args:
        config: What is asked now, with its defaults filled in.
        run: Its directory.
        emit: Takes messages about what is found.

    Raises:
        ConfigError: The run was made by another configuration; names every key that differs.
        RunFileError: What is left of the run is damaged.
    """
    if not run.run.exists():
        emit(Message(f"there is no run in {run.path} to go on with: a new one begins"))
        return None
    facts = run.read_run()
    completed = facts.get("status") == "completed"
    checkpoint = CheckpointStore(run.checkpoints).load(emit)
    asked = _asked_earlier(run, checkpoint)
    if asked is not None:
        _refuse_changes(config, asked, run.path)
    if completed:
        more = asked is not None and config.training.epochs > asked["training"]["epochs"]
        if not more or facts.get("stopped_early"):
            return EarlierRun(facts, checkpoint, is_complete=True)
        if checkpoint is None:
            raise RunFileError(
                Problem(
                    run.path,
                    "the run is completed and its checkpoint is gone",
                    "train again with --overwrite",
                )
            )
    if checkpoint is None:
        emit(Message(f"the run in {run.path} has no checkpoint yet: it begins again"))
    return EarlierRun(facts, checkpoint)


def check_same_images(
    earlier: EarlierRun, run: RunDirectory, fingerprint: str, describe: Callable[[], Mapping[str, Any]]
) -> None:
    """Do nothing if the images are those that the earlier run was trained on.

    Args:
        earlier: The run to resume.
        run: Its directory.
        fingerprint: Of the images that there are now.
        describe: Returns what `data.json` would say of them.

    Raises:
        DataError: They are not; says how each split has changed.
    """
    if earlier.origin("data_fingerprint") in (None, fingerprint):
        return
    problems = []
    what, hint = "was trained on other images than there are now", "put the images back, or start a new run"
    with suppress(RunFileError, KeyError, TypeError, AttributeError):
        before, after = read_json(run.data)["splits"], describe()["splits"]
        problems = list(_changed_splits(before, after))
        if _divided_differently(before, after):
            what = "was trained with the same images, but with another validation split of them"
            hint = "a validation split now keeps images with identical pixels together: start a new run"
    raise DataError([*problems, Problem(run.path, what, f"{hint} with --output or --overwrite")])


def describe_origin(config: Config, fingerprint: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every checkpoint of a run says about it: what was asked, and what was found."""
    return {"config": to_plain(config), "data_fingerprint": fingerprint, **facts}


def describe_resumption(earlier: EarlierRun | None) -> dict[str, Any]:
    """Return what `run.json` says about the times before; nothing for a run that begins."""
    if earlier is None or earlier.checkpoint is None:
        return {}
    return {"started": earlier.facts.get("started"), "resumed": [*earlier.facts.get("resumed", []), now()]}


@contextmanager
def adding_resume_hint(run: RunDirectory) -> Iterator[None]:
    """Add to an error that ends a run how to go on with it, if it has come to a checkpoint.

    Raises:
        ImgtrainError: The same with one problem more; InterruptedRunError for Ctrl-C.
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
    return Problem("", "what was trained is kept", f"go on with: {command}")


def _asked_earlier(run: RunDirectory, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Return the configuration of an earlier run as plain values; None if it came to nothing."""
    if checkpoint is not None:
        return dict(checkpoint.origin["config"])
    return to_plain(load_config(run.config)) if run.config.exists() else None


def _refuse_changes(config: Config, asked: Mapping[str, Any], where: Path) -> None:
    problems = []
    for path, before, after in _differences(asked, to_plain(config)):
        key = ".".join(map(str, path))
        # A schedule is planned for all epochs: with more of them, every batch would have had another learning rate.
        longer = key == "training.epochs" and after >= before and config.training.schedule is None
        if key in _FREE or longer:
            continue
        if before is _ABSENT and after == _default(path):
            continue  # a key that the imgtrain of the earlier run did not have yet
        was = "is not set" if before is _ABSENT else f"is {format_value(before)}"
        what = "is not set" if after is _ABSENT else f"is {format_value(after)}"
        problems.append(Problem(config.where(*path), f"{what}; in the run to go on with it {was}"))
    if problems:
        hint = (
            "put it back, or start a new run with --output or --overwrite; only more epochs may be asked for"
        )
        raise ConfigError([*problems, Problem(where, "was trained with another configuration", hint)])


def _default(path: tuple[str | int, ...]) -> Any:
    """Return what a key is if nobody writes it."""
    value: Any = to_plain(parse_config({"data": {"train": "."}}))
    for key in path:
        value = value[key] if isinstance(value, Mapping) and key in value else _ABSENT
    return value


def _differences(
    before: Any, after: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Yield (path, value before, value after) for each value of two trees that differs."""
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
    """Return whether training and validation together have the same images, and the test as well."""

    def images(splits: Mapping[str, Any], *names: str) -> list[tuple[str, tuple[str, str]]]:
        return sorted(image for name in names for image in _images_by_path(splits.get(name)).items())

    return all(
        images(before, *names) == images(after, *names) for names in (("train", "validation"), ("test",))
    )


def _images_by_path(split: Mapping[str, Any] | None) -> dict[str, tuple[str, str]]:
    images = [] if split is None else split["images"]
    return {image["path"]: (image["class"], image["digest"]) for image in images}
