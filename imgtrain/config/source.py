"""Where each value of a configuration comes from: file and line, or option; and what a relative path is relative to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imgtrain.config.fault import KeyPath

__all__ = ["ConfigSource", "RelativePath"]


@dataclass(frozen=True, slots=True)
class RelativePath:
    """A relative path of the configuration.

    Attributes:
        given: As written by the user.
        base: The folder that it is relative to, absolute.
        base_name: What this folder is, such as `the folder of the configuration`.
    """

    given: str
    base: Path
    base_name: str

    def __str__(self) -> str:
        """Say what the path is relative to, and whether it exists in the current directory instead."""
        text = f"{self.given!r} is relative to {self.base_name}, {self.base}"
        here = Path.cwd() / self.given
        if not (self.base / self.given).exists() and here.exists():
            return f"{text}, not to the current directory; did you mean {here}?"
        return text


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """The file of a configuration, and the line of each of its keys.

    All sources compare equal: configurations are equal if their values are, regardless of where they are
    written.

    Attributes:
        path: The file as given by the user; None for a configuration created in Python.
        lines: Line number (from 1) of every key and list item, by path.
        overrides: The options of the command line as typed, such as `--set training.epochs=3`, by the path that they
            set; these keys have no line.
        relative_paths: The relative paths, by section and key.
    """

    path: Path | None = field(default=None, compare=False)
    lines: Mapping[KeyPath, int] = field(default_factory=dict, compare=False)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict, compare=False)
    relative_paths: Mapping[KeyPath, RelativePath] = field(default_factory=dict, compare=False)

    def where(self, *path: str | int) -> str:
        """Return `file:line: dotted.path`, with the line of the nearest existing key.

        An empty path means the whole file. For a key set by an option, the option is returned.
        """
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        dotted = dotted.removeprefix(".")
        for length in range(len(path), 0, -1):
            if option := self.overrides.get(path[:length]):
                return f"{option}: {dotted}"
            if (line := self.lines.get(path[:length])) and self.path is not None:
                return f"{self.path}:{line}: {dotted}"
        # A section that only occurs in an option.
        if path and (
            option := next((text for key, text in self.overrides.items() if key[: len(path)] == path), "")
        ):
            return f"{option}: {dotted}"
        if path and self.path is not None:
            # Not in the file: point editors at its beginning.
            return f"{self.path}:1: {dotted}"
        return ": ".join(filter(None, (str(self.path or ""), dotted)))

    def line(self, path: KeyPath) -> int:
        """Return the line of the nearest existing key; 0 for an option or if there is none."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return 0
            if line := self.lines.get(path[:length]):
                return line
        return 0
