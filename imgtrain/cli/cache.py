"""`imgtrain cache`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtrain.cli.options import Quiet, Verbose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtrain.pixels.cache_files import CacheFile

__all__ = ["cache"]

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def cache(
    listed: Annotated[bool, typer.Option("--list", help="List the cache files; the default.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all files that are not in use.")] = False,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Remove files, least recently used first, until the cache has at most this size: 20GiB.",
            show_default=False,
        ),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            help="Cache folder (data.cache_directory).  [default: the platform's cache directory]",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the files as JSON and nothing else.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """List or remove cached pixels.

    Training removes old files automatically if the cache would exceed half of the free disk space. Files that a
    run is using are never removed.

    Example: imgtrain cache --max-size 20GiB
    """
    from imgtrain.cli.display import Display
    from imgtrain.errors import ConfigError, Problem
    from imgtrain.events import Message
    from imgtrain.pixels.cache_files import (
        default_cache_directory,
        default_limit,
        list_cache,
        remove_abandoned,
        shrink_cache,
    )
    from imgtrain.text import format_bytes

    if clear and max_size is not None:
        raise ConfigError(Problem("--clear", "and --max-size are mutually exclusive", "use one of them"))
    most = None if max_size is None else _parse_size(max_size)
    where = directory or default_cache_directory()
    if directory is not None and not where.is_dir():
        raise ConfigError(Problem("--directory", f"{where} is not a folder"))
    removed: Sequence[CacheFile] = ()
    if clear:
        remove_abandoned(where)
    if clear or most is not None:
        removed = shrink_cache(where, most or 0)
    files = list_cache(where)
    content = {
        "directory": str(where),
        "total_bytes": sum(file.size for file in files),
        "limit_bytes": default_limit(where) if where.is_dir() else None,
        "free_bytes": shutil.disk_usage(where).free if where.is_dir() else None,
        "files": [_as_json(file) for file in files],
        "removed": [_as_json(file) for file in removed],
    }
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    with Display(verbose=verbose, quiet=quiet) as display:
        if clear or most is not None:
            size = format_bytes(sum(file.size for file in removed))
            kept = sum(file.in_use for file in files)
            rest = f"; kept {kept} in use" if kept else ""
            plural = "" if len(removed) == 1 else "s"
            display.show(Message(f"removed {len(removed):,} cache file{plural} ({size}){rest}"))
        if listed or not (clear or most is not None):
            display.show_cache(content)


def _as_json(file: CacheFile) -> dict[str, Any]:
    from datetime import UTC, datetime

    return {
        "path": str(file.path),
        "size_bytes": file.size,
        "last_used": datetime.fromtimestamp(file.last_used, UTC).isoformat(timespec="seconds"),
        "folder": file.folder or None,
        "images": file.images,
        "shape": None if file.shape is None else list(file.shape),
        "in_use": file.in_use,
    }


def _parse_size(text: str) -> int:
    """Return the number of bytes of `20GiB`, `20G`, `500 MB` or `1000`; MB and GB are powers of 1,000."""
    from imgtrain.errors import ConfigError, Problem

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", text.strip().lower())
    if match is None:
        hint = "use a number and a unit: 20GiB, 500MB"
        raise ConfigError(Problem("--max-size", f"{text!r} is not a size", hint))
    number, prefix, unit = match.groups()
    return int(float(number) * (1000 if unit == "b" else 1024) ** _POWERS[prefix])
