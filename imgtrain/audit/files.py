"""Check individual files: corruption, wrong suffixes, unusual sizes, and color modes that differ by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from imgtrain.audit.findings import Finding, Item, Severity
from imgtrain.audit.inventory import Inventory
from imgtrain.config.schema import DataConfig
from imgtrain.dataset.layout import count
from imgtrain.pixels.decode import MOST_PIXELS, MOST_PIXELS_ON_A_SIDE, TOO_LARGE, kind_of_reason

__all__ = ["check_files"]

# Valid suffixes of Pillow's formats; other formats are not checked.
_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp"},
    "DIB": {".dib", ".bmp"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "ICO": {".ico"},
    "AVIF": {".avif"},
    "JPEG2000": {".jp2", ".j2k"},
    "TGA": {".tga"},
    "PCX": {".pcx"},
}
_GRAY = {b"1", b"L", b"LA", b"La", b"I", b"F", b"I;16", b"I;16B", b"I;16L", b"I;16N"}
# Images enlarged by more than this lack detail.
_SMALL = 2.0
# Images whose aspect ratio changes by more than this look distorted.
_DISTORTED = 2.0
# Maximum difference between classes or splits in the share of a color mode.
_SHARE = 0.3


def check_files(
    inventory: Inventory, data: DataConfig, *, target_size: tuple[int, int] | None
) -> list[Finding]:
    """Return findings about individual files.

    Args:
        inventory: The images.
        data: How the images are loaded.
        target_size: (height, width) to resize to; None without a configuration.
    """
    return [
        *_undecodable(inventory, "error" if data.on_bad_image == "error" else "warning"),
        *_wrong_suffix(inventory),
        *_animated(inventory),
        *_turned(inventory),
        *_kinds(inventory),
        *(() if data.shows_transparency else _hidden_colors(inventory)),
        *(_sizes(inventory, target_size, data.resize) if target_size is not None else ()),
    ]


def _items(inventory: Inventory, indices: Iterable[int], details: Sequence[str] = ()) -> tuple[Item, ...]:
    indices = list(indices)
    return tuple(
        Item((inventory.paths[index],), detail)
        for index, detail in zip(indices, details or [""] * len(indices), strict=True)
    )


def _undecodable(inventory: Inventory, severity: Severity) -> Iterator[Finding]:
    kind_of = {index: kind_of_reason(reason) for index, reason in inventory.reasons.items()}
    too_large = [index for index, kind in kind_of.items() if kind == TOO_LARGE]
    damaged = [index for index, kind in kind_of.items() if kind != TOO_LARGE]
    remedy = "repair or remove them, or set `data.on_bad_image: skip`"
    if damaged:
        kinds = Counter(kind_of[index] for index in damaged)
        listed = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common(4))
        yield Finding(
            "undecodable",
            severity,
            f"{count(len(damaged), 'file')} cannot be decoded: {listed}",
            "`train` stops with an error" if severity == "error" else "`train` skips them",
            remedy,
            _items(inventory, damaged, [inventory.reasons[index] for index in damaged]),
        )
    if too_large:
        yield Finding(
            "decompression-bomb",
            severity,
            f"{count(len(too_large), 'file')} with more than {MOST_PIXELS:,} pixels "
            f"or {MOST_PIXELS_ON_A_SIDE:,} on a side",
            "they are rejected before memory is allocated",
            remedy,
            _items(inventory, too_large, [inventory.reasons[index] for index in too_large]),
        )


def _wrong_suffix(inventory: Inventory) -> Iterator[Finding]:
    indices, details = [], []
    for index in inventory.decoded.tolist():
        name = inventory.stats["format"][index].decode()
        suffix = PurePosixPath(inventory.paths[index]).suffix.lower()
        if name in _SUFFIXES and suffix not in _SUFFIXES[name]:
            indices.append(index)
            details.append(f"contains {name}")
    if indices:
        yield Finding(
            "wrong-suffix",
            "warning",
            f"{count(len(indices), 'file')} whose format doesn't match the suffix",
            "imgtrain detects the format by content; other programs may fail or skip these files",
            "rename them",
            _items(inventory, indices, details),
        )


def _animated(inventory: Inventory) -> Iterator[Finding]:
    indices = np.flatnonzero(inventory.stats["animated"])
    if len(indices):
        yield Finding(
            "animated",
            "warning",
            f"{count(len(indices), 'file')} with several frames or pages",
            "only the first one is used, which is often empty or a title",
            "save the relevant frame as a separate file",
            _items(inventory, indices.tolist()),
        )


def _turned(inventory: Inventory) -> Iterator[Finding]:
    indices = np.flatnonzero(inventory.stats["orientation"] > 1)
    if len(indices):
        details = [f"EXIF orientation {inventory.stats['orientation'][index]}" for index in indices]
        yield Finding(
            "exif-orientation",
            "note",
            f"{count(len(indices), 'image')} stored rotated or mirrored, with an EXIF orientation",
            "imgtrain applies the orientation; many other tools ignore it and would use rotated images",
            "nothing to do for imgtrain; for other tools, save the images upright",
            _items(inventory, indices.tolist(), details),
        )


def _hidden_colors(inventory: Inventory) -> Iterator[Finding]:
    indices = np.flatnonzero(inventory.stats["hidden_colors"])
    if len(indices):
        yield Finding(
            "hidden-colors",
            "note",
            f"{count(len(indices), 'image')} with several colors under completely transparent pixels",
            "transparency is ignored, so the network sees these colors, and you don't",
            "set `data.background: [255, 255, 255]` to blend transparent images with white",
            _items(inventory, indices.tolist()),
        )


def _kinds(inventory: Inventory) -> Iterator[Finding]:
    """Return findings about color modes that are common in one class or split and rare in another."""
    decoded = inventory.decoded
    modes = inventory.stats["mode"][decoded]
    kinds = np.full(len(decoded), "color", "U12")
    kinds[np.isin(modes, list(_GRAY))] = "gray"
    kinds[inventory.stats["transparent"][decoded]] = "transparent"
    kinds[modes == b"CMYK"] = "CMYK"
    sides: list[tuple[str, NDArray[np.integer], Sequence[str]]] = [
        ("classes", inventory.labels[decoded], inventory.class_names),
        ("splits", inventory.splits[decoded], inventory.split_names),
    ]
    for noun, members, names in sides:
        for kind in np.unique(kinds):
            totals = np.bincount(members, minlength=len(names))
            shares = np.bincount(members[kinds == kind], minlength=len(names)) / np.maximum(totals, 1)
            shares = np.where(totals >= 2, shares, np.nan)
            if np.isnan(shares).all() or np.nanmax(shares) - np.nanmin(shares) <= _SHARE:
                continue
            most, least = int(np.nanargmax(shares)), int(np.nanargmin(shares))
            indices = decoded[(kinds == kind) & (members == most)]
            yield Finding(
                "mixed-colour-modes",
                "warning",
                f"{shares[most]:.0%} of {names[most]} are {kind} images, but only {shares[least]:.0%} "
                f"of {names[least]}: color modes differ between {noun}",
                "the network can distinguish them by the color mode instead of the content",
                "convert all images to one mode, for example with `data.color_mode: grayscale`",
                _items(inventory, indices.tolist()),
            )
            break  # report one mode only: others differ as a consequence


def _sizes(inventory: Inventory, target_size: tuple[int, int], resize: str) -> Iterator[Finding]:
    decoded = inventory.decoded
    sizes = inventory.sizes[decoded]
    target = np.array(target_size)
    small = decoded[(sizes * _SMALL <= target).any(1)]
    shown = f"{target_size[0]}×{target_size[1]}"
    if len(small):
        yield Finding(
            "small",
            "warning",
            f"{count(len(small), 'image')} with a side of at most half the target size {shown}",
            "they are enlarged and blurred, and cost as much time as sharp images",
            "reduce data.target_size, or use larger originals",
            _items(inventory, small.tolist(), [f"{h}×{w}" for h, w in inventory.sizes[small]]),
        )
    ratio = (sizes[:, 0] * target[1]) / np.maximum(sizes[:, 1] * target[0], 1)
    odd = decoded[np.maximum(ratio, 1 / np.maximum(ratio, 1e-9)) > _DISTORTED]
    if len(odd):
        becomes = {
            "stretch": "distorted by more than 2:1",
            "crop": "cropped to less than half",
            "pad": "padded to more than twice their size",
        }[resize]
        yield Finding(
            "odd-shape",
            "warning",
            f"{count(len(odd), 'image')} {becomes} at {shown} with `data.resize: {resize}`",
            "the subject is distorted, cut off or very small",
            "adapt data.target_size to their aspect ratio, use another data.resize, or crop them",
            _items(inventory, odd.tolist(), [f"{h}×{w}" for h, w in inventory.sizes[odd]]),
        )
