"""Load a YAML file and `--set` options as a `Config`, reporting all problems together with file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from imgtrain.config.document import Document, Mistake, read_document
from imgtrain.config.explain import explain
from imgtrain.config.fault import Fault, KeyPath
from imgtrain.config.overrides import apply_overrides
from imgtrain.config.render import to_plain
from imgtrain.config.schema import Config
from imgtrain.config.source import ConfigSource, RelativePath
from imgtrain.config.wording import allowed_names, fields_by_key, format_value
from imgtrain.errors import ConfigError, Problem, did_you_mean, join_hints, missing_here

__all__ = ["load_config", "parse_config"]

# Real configurations are a few pages long.
_MAX_BYTES = 256 * 1024
# The first bytes of model files: `.h5` and `.keras`.
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


def load_config(
    path: Path | str, overrides: Sequence[str] = (), *, typed: Mapping[str, str] = MappingProxyType({})
) -> Config:
    """Load a configuration file.

    Relative paths in the file and in the overrides are relative to the file's folder; only an `output.directory` in
    the overrides is relative to the current directory. The default run directory is `runs/<name of the file>` in the
    current directory. All returned paths are absolute.

    Args:
        path: A YAML file.
        overrides: Options `dotted.key=YAML`, applied in this order.
        typed: How the user typed an override, if not as `--set OVERRIDE`; for error messages.

    Raises:
        ConfigError: With all problems, sorted by line.
    """
    path = Path(path)
    document = read_document(_read_text(path), keeps_text=_keeps_text)
    unreadable = [mistake for mistake in document.mistakes if not mistake.path]
    if unreadable:
        raise ConfigError(
            Problem(f"{path}:{mistake.line}", mistake.what, mistake.hint) for mistake in unreadable
        )
    tree = document.value
    if tree is None:
        raise ConfigError(Problem(f"{path}:1", "is empty", "it needs at least `data: {train: FOLDER}`"))
    if not isinstance(tree, dict):
        what = f"must be a mapping of sections; got {format_value(tree)}"
        raise ConfigError(Problem(f"{path}:1", what, "it starts with `data:`"))
    set_by, problems = apply_overrides(
        tree, overrides, typed=typed, defaults=_default_tree(), keeps_text=_keeps_text
    )
    lines = {
        key: line
        for key, line in document.lines.items()
        if not any(key[:length] in set_by for length in range(1, len(key) + 1))
    }
    relative = _resolve_paths(tree, path.parent, "the folder of the configuration", set_by)
    source = ConfigSource(path, lines, set_by, relative)
    return _validate(tree, source, problems=problems, document=document, name=path.stem)


def parse_config(mapping: Mapping[str, Any], *, base: Path | str = Path()) -> Config:
    """Create a configuration in Python, with the same keys, checks and defaults as a file.

    Args:
        mapping: The sections.
        base: The folder that relative paths are relative to.

    Raises:
        ConfigError: With all problems.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"a configuration must be a mapping of sections; got {format_value(mapping)}")
    tree = _copy(mapping)
    relative = _resolve_paths(tree, Path(base), "the folder given as base")
    return _validate(tree, ConfigSource(relative_paths=relative))


def _validate(
    tree: dict[str, Any],
    source: ConfigSource,
    *,
    problems: Sequence[Problem] = (),
    document: Document | None = None,
    name: str = "unnamed",
) -> Config:
    mistakes = document.mistakes if document else []
    located = [(mistake.line, _mistake_problem(mistake, source)) for mistake in mistakes]
    located += [(0, problem) for problem in problems]
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        already_reported = {mistake.path for mistake in mistakes if mistake.leaves_null}
        located += [
            (source.line(fault.path), _problem(fault, source))
            for fault in explain(error, tree)
            if fault.path not in already_reported
        ]
    if located:
        raise ConfigError(problem for _, problem in sorted(located, key=lambda pair: pair[0]))
    if config.output.directory is None:
        directory = Path.cwd() / "runs" / name
        config = config.model_copy(
            update={"output": config.output.model_copy(update={"directory": directory})}
        )
    config._source = source
    return config


def _mistake_problem(mistake: Mistake, source: ConfigSource) -> Problem:
    # Not the recorded line: for a duplicate key, that is the line of its first occurrence.
    where = ConfigSource(source.path, {mistake.path: mistake.line}).where(*mistake.path)
    return Problem(where, mistake.what, mistake.hint)


def _problem(fault: Fault, source: ConfigSource) -> Problem:
    return Problem(source.where(*fault.path), fault.what, join_hints(fault.hint, _example(fault, source)))


def _example(fault: Fault, source: ConfigSource) -> str:
    """Return the option of a fault in the right form, if its key was given by `--set`."""
    for path, shown in source.overrides.items():
        if fault.meant and shown.startswith("--set ") and path[: len(fault.path)] == fault.path:
            key = ".".join(map(str, (*fault.meant, *path[len(fault.path) :])))
            return f"write `--set {key}={shown.partition('=')[2]}`"
    return ""


def _read_text(path: Path) -> str:
    if path.suffix.lower() in {".csv", ".tsv"} and path.is_file():
        hint = f"create a configuration for its labels with `imgtrain init {path}`"
        raise ConfigError(Problem(path, "is a CSV file, not a configuration", hint))
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except IsADirectoryError:
        inside = path / "config.yaml"  # of a run, or written by `imgtrain init`
        hint = (
            f"use the configuration in it: {inside}"
            if inside.is_file()
            else f"create a configuration for it with `imgtrain init {path}`"
        )
        raise ConfigError(Problem(path, "is a folder, not a configuration", hint)) from None
    except FileNotFoundError:
        hint = join_hints(_suggest_file(path), missing_here(path))
        raise ConfigError(Problem(path, "no such file", hint)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(Problem(path, f"cannot be read: {reason}")) from None
    if problem := _find_other_format(path, content):
        raise ConfigError(problem)
    if len(content) > _MAX_BYTES:
        raise ConfigError(Problem(path, f"is not a configuration: larger than {_MAX_BYTES // 1024} KiB"))
    try:
        # utf-8-sig, because Windows editors write a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"is not valid UTF-8: byte 0x{content[error.start]:02x}"
        raise ConfigError(Problem(f"{path}:{line}", what, "save the file as UTF-8")) from None


def _find_other_format(path: Path, content: bytes) -> Problem | None:
    """Return a problem if the file is a model, an image or something else that is not text."""
    hint = "a configuration is a YAML file; `imgtrain init FOLDER` writes one for a folder of images"
    if content.startswith(_HDF5) or (content.startswith(_ZIP) and path.suffix == ".keras"):
        what = "is a model, not a configuration"
        return Problem(f"{path}:1", what, f"evaluate it with `imgtrain evaluate {path} --data FOLDER`")
    if b"\0" in content:
        return Problem(f"{path}:1", "is a binary file, not a configuration", hint)
    return None


def _suggest_file(path: Path) -> str:
    try:
        names = [file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    except (OSError, ValueError):
        return ""
    return did_you_mean(path.name, names)


def _resolve_paths(
    tree: dict[str, Any], base: Path, base_name: str, set_by: Mapping[KeyPath, str] = MappingProxyType({})
) -> dict[KeyPath, RelativePath]:
    """Make the paths in the tree absolute, in place, and return those that were relative."""
    relative: dict[KeyPath, RelativePath] = {}
    here = Path.cwd().resolve()
    for path, other_values in _path_keys().items():
        *above, key = path
        given: Any = tree
        for section in above:
            given = given.get(section) if isinstance(given, dict) else None
        if not isinstance(given, dict):
            continue
        value = given.get(key)
        if isinstance(value, str | Path) and str(value) not in (*other_values, "") and "\0" not in str(value):
            home = os.path.expanduser(value)  # noqa: PTH111 (Path.expanduser raises for an unknown user)
            folder, name = base.resolve(), base_name
            # As with --output: what is typed is relative to where it is typed.
            if path == ("output", "directory") and {path[:1], path} & set_by.keys():
                folder = here
            if folder == here:
                name = "the current directory"
            if not Path(home).is_absolute():
                relative[path] = RelativePath(str(value), folder, name)
            # Not resolve(): keep symbolic links as written by the user.
            given[key] = Path(os.path.normpath(folder / home))
    return relative


@cache
def _path_keys() -> dict[tuple[str, ...], list[str]]:
    """Return the keys of every path field, each with the names that it also accepts, such as `imagenet`."""
    return dict(_find_path_keys(Config, ()))


def _find_path_keys(
    section: type[BaseModel], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    for key, field in fields_by_key(section).items():
        if _is_path(field.annotation):
            yield (*above, key), allowed_names(field.annotation)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _find_path_keys(inner, (*above, key))


def _is_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_is_path, get_args(annotation)))


def _keeps_text(path: KeyPath) -> bool:
    """Return whether the value at a path is a name, for which `007`, `no` and `1e3` are strings."""
    return path in _path_keys() or (len(path) == 3 and path[:2] in {("data", "classes"), ("data", "labels")})


@cache
def _default_tree() -> dict[str, Any]:
    tree = to_plain(Config.model_validate({"data": {"train": "."}}))
    assert isinstance(tree, dict)
    return tree


def _copy(value: Any) -> Any:
    """Return a deep copy as dicts and lists, so that the caller's objects are not modified."""
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value
