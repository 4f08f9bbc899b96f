"""What the folders below a folder contain, to find the one with the class folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from imgtrain.dataset.walk import list_tree

__all__ = ["FolderTree"]


class FolderTree:
    """A folder and the folders below it, within the limits of `list_tree`.

    Attributes:
        listings: The contents of each folder, breadth first.
    """

    def __init__(self, root: Path) -> None:
        """List the folders.

        Args:
            root: Absolute.
        """
        self.listings = list_tree(root)
        self._images: Counter[Path] = Counter()
        for folder, listing in self.listings.items():
            for above in (folder, *folder.parents):
                self._images[above] += len(listing.images)
                if above == root:
                    break

    def images_below(self, folder: Path) -> int:
        """Return the number of images in and below a folder."""
        return self._images[folder]

    def children(self, folder: Path) -> list[Path]:
        """Return the subfolders with images in or below them, sorted."""
        inner = [folder / found.name for found in self.listings[folder].folders]
        return [child for child in inner if child in self.listings and self._images[child]]

    def is_flat(self, folder: Path) -> bool:
        """Return whether there are images in the folder, but not below it."""
        return self._has_images(folder) and not self.children(folder)

    def is_nested(self, folder: Path) -> bool:
        """Return whether there are only images below the subfolders, but not in them."""
        return bool(self.children(folder)) and not any(map(self._has_images, self.children(folder)))

    def is_mixed(self, folder: Path) -> bool:
        """Return whether some subfolders contain images, and others only have them in deeper folders."""
        return len({self._has_images(child) for child in self.children(folder)}) > 1

    def descend(self, folder: Path) -> Path:
        """Return the first folder at or below this one that is more than the way to another folder."""
        while not self._has_images(folder) and len(children := self.children(folder)) == 1:
            if self._has_images(children[0]):
                break
            folder = children[0]
        return folder

    def has_repeated_leaves(self, folder: Path) -> bool:
        """Return whether several of the deepest folders with images have the same name, as in two data sets."""
        leaves = [path.name for path in self.listings if path.is_relative_to(folder) and self.is_flat(path)]
        return len(set(leaves)) < len(leaves)

    def _has_images(self, folder: Path) -> bool:
        return bool(self.listings[folder].images)
