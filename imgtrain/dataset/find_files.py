"""Find the images that a CSV file names: by path, without suffix, or by file name alone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from imgtrain.dataset.walk import FoundFile, walk_below
from imgtrain.errors import did_you_mean

__all__ = ["FileFinder"]


class FileFinder:
    """The images below some folders, found by the paths that people write in CSV files.

    A path is looked up relative to each folder, then relative to `beside`; then without its suffix, as in Kaggle's
    `id_code`; then, if it is a file name only, in all subfolders. Absolute paths are used as they are.

    Attributes:
        files: All images below the folders, by absolute path; without hidden ones.
        unreadable: Why subfolders cannot be read, by absolute path.
    """

    def __init__(self, folders: Sequence[Path], beside: Path, *, follow_links: bool = False) -> None:
        """List the folders.

        Args:
            folders: Absolute; later folders can be inside earlier ones.
            beside: The folder of the CSV file, absolute.
            follow_links: Whether to follow symbolic links to folders.
        """
        self.files: dict[str, FoundFile] = {}
        self.unreadable: dict[str, str] = {}
        self._bases = tuple(dict.fromkeys(os.fspath(base) for base in (*folders, beside)))
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for folder in map(os.fspath, folders):
            for below, listing in walk_below(folder, follow_links=follow_links):
                prefix = os.path.join(folder, below)  # noqa: PTH118 (once per folder)
                if isinstance(listing, OSError):
                    self.unreadable[prefix] = listing.strerror or str(listing)
                    continue
                for image in listing.images:
                    self._add(f"{prefix.rstrip(os.sep)}{os.sep}{image.path}", image)

    def _add(self, path: str, image: FoundFile) -> None:
        if path in self.files:
            return
        self.files[path] = image._replace(path=path)
        self._by_stem[_stem(path)].append(path)
        for name in (image.path, _stem(image.path)):
            self._by_name[name].append(path)

    def find(self, given: str) -> list[FoundFile]:
        """Return the images that a path can mean: one, several if it is ambiguous, or none.

        Args:
            given: The path as given, with either separator.
        """
        if not given or "\0" in given:
            return []
        tidy = given if os.sep == "\\" else given.replace("\\", "/")
        spellings = [given] if tidy == given else [given, tidy]
        for places in (self._exactly, self._without_suffix, self._by_name_only):
            for spelling in spellings:
                if found := list(dict.fromkeys(places(spelling))):
                    return found
        return []

    def suggest(self, given: str) -> str:
        """Return `did you mean 'x'?` for a path that was not found, or an empty string."""
        name = given.replace("\\", "/").rsplit("/", 1)[-1]
        near = [*self._by_name.get(name, ()), *self._by_name.get(_stem(name), ())]
        if not near:
            return did_you_mean(name, list(self._by_name)) if len(self._by_name) <= 2_000 else ""
        return f"did you mean {self.shorten(near[0])!r}?"

    def shorten(self, path: str) -> str:
        """Return a path relative to the deepest of the folders that contain it."""
        below = [os.path.relpath(path, base) for base in self._bases if path.startswith(base + os.sep)]
        return min(below, key=len, default=path)

    def _paths(self, given: str) -> Iterator[str]:
        for base in self._bases:
            yield os.path.normpath(os.path.join(base, given))  # noqa: PTH118 (once per image)

    def _exactly(self, given: str) -> Iterable[FoundFile]:
        paths = list(self._paths(given))
        # The folder of the CSV file only counts if the path is in none of the others.
        listed = [self.files[path] for path in paths[:-1] if path in self.files] or [
            self.files[path] for path in paths[-1:] if path in self.files
        ]
        return listed or [file for path in paths for file in _status(path)][:1]

    def _without_suffix(self, given: str) -> Iterable[FoundFile]:
        return self._listed(self._by_stem, self._paths(given))

    def _by_name_only(self, given: str) -> Iterable[FoundFile]:
        return self._listed(self._by_name, [given] if "/" not in given else [])

    def _listed(self, index: Mapping[str, list[str]], keys: Iterable[str]) -> Iterator[FoundFile]:
        for key in keys:
            yield from (self.files[path] for path in index.get(key, ()))


def _status(path: str) -> Iterator[FoundFile]:
    """Yield a file outside the folders, or with another suffix than that of an image."""
    try:
        if os.path.isfile(path):  # noqa: PTH113
            status = os.stat(path)  # noqa: PTH116
            yield FoundFile(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        return


def _stem(path: str) -> str:
    return path[: path.rindex(".")] if "." in path.rsplit(os.sep, 1)[-1] else path
