"""The settings of a run that is resumed: those of its file, and those that were set on the command line.

`run.json` contains a digest of the configuration file without `--set`. If the file has not changed since, `--resume`
alone continues the run with the settings that it was last trained with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgtrain.config.load import load_config
from imgtrain.config.render import to_plain
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError
from imgtrain.events import Emit, Message, ignore
from imgtrain.run.run_directory import RunDirectory

__all__ = ["FREE_KEYS", "config_of_run", "describe_config_file", "options_of_run"]

FREE_KEYS = frozenset(
    {
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
)
"""Keys that affect paths or speed, but not the results. The images are compared by their contents."""

# `training.minutes` determines their values; a resumed run keeps its plan.
_PLANNED_KEYS = frozenset(
    {
        "data.target_size",
        "training.minutes",
        "training.epochs",
        "training.steps_per_epoch",
        "training.early_stopping",
    }
)


def config_of_run(directory: Path) -> Path | None:
    """Return the configuration file of a run; None if the directory does not contain a run."""
    run = RunDirectory(directory)
    return run.config if run.run.is_file() else None


def _digest_file(config: Config) -> str | None:
    """Return a digest of the file that a configuration was loaded from, without options; None if there is none."""
    if config.source.path is None:
        return None
    try:
        plain = to_plain(load_config(config.source.path))
    except ConfigError:
        return None  # it needs options to be valid
    for section, keys in plain.items():
        plain[section] = {key: value for key, value in keys.items() if f"{section}.{key}" not in FREE_KEYS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def options_of_run(config: Config, emit: Emit = ignore) -> list[str]:
    """Return the options that continue the run in the configuration's directory with its own settings.

    These are the values of the run that differ from the file, except those that options of this command set. There are
    none if there is no run, or if the file has changed since then.

    Args:
        config: A configuration loaded from a file.
        emit: Called with a message that lists the options.

    Raises:
        RunFileError: Files of the run are damaged.
        ConfigError: The configuration of the run is damaged.
    """
    assert config.output.directory is not None  # set by load_config
    run = RunDirectory(config.output.directory)
    digest = run.read_run().get("config_file") if run.run.exists() else None
    if digest is None or not run.config.exists() or digest != _digest_file(config):
        return []
    kept = FREE_KEYS if config.training.minutes is None else FREE_KEYS | _PLANNED_KEYS
    now, earlier = to_plain(config), to_plain(load_config(run.config))
    options = []
    for section, keys in now.items():
        for key, value in keys.items():
            is_given = any(path[:2] in ((section, key), (section,)) for path in config.source.overrides)
            if f"{section}.{key}" in kept or is_given or earlier[section].get(key, value) == value:
                continue
            # JSON is also YAML.
            options.append(f"{section}.{key}={json.dumps(earlier[section][key], ensure_ascii=False)}")
    if options:
        emit(Message(f"continuing with the settings of the run: {', '.join(options)}"))
    return options


def describe_config_file(config: Config, run: RunDirectory, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `run.json` entry with the digest of the configuration file, if there is one.

    Args:
        config: The configuration.
        run: The run directory.
        earlier: The contents of `run.json` of the run to resume; empty for a new run.
    """
    path = config.source.path
    if path is not None and path.resolve() == run.config.resolve() and "config_file" in earlier:
        return {"config_file": earlier["config_file"]}
    digest = _digest_file(config)
    return {} if digest is None else {"config_file": digest}
