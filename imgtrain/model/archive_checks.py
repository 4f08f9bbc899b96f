"""Check the zip and HDF5 structure of a model file before extracting anything.

A few kilobytes can extract to terabytes, reference other files, or contain cycles. Keras only writes flat members,
plain groups, and arrays stored in the file itself.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from imgtrain.run.model_metadata import WEIGHTS_MEMBER
from imgtrain.text import format_bytes

__all__ = ["UnsafeFile", "validate_h5", "validate_zip"]

# The largest network of keras.applications has fewer than 10,000 groups and arrays.
_MOST_OBJECTS = 200_000
# Built-in filters: deflate, shuffle, Fletcher-32, and h5py's LZF. Others are plug-ins.
_FILTERS = {1, 2, 3, 32000}
# Models are loaded without their optimizer.
_NOT_LOADED = ("/optimizer/", "/optimizer_weights/")


class UnsafeFile(Exception):  # noqa: N818 (the caller names the file)
    """The file contains something else than its own arrays; the message describes it."""


def validate_zip(path: Path, *, most_bytes: int) -> None:
    """Reject an archive that references other files or exceeds the size limit.

    Args:
        path: A zip file.
        most_bytes: Limit for all members together, and for the arrays in the weights.

    Raises:
        UnsafeFile: The archive is rejected.
        zipfile.BadZipFile: The archive is corrupt.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        for member in members:
            if _escapes(member.filename):
                raise UnsafeFile(f"its member {member.filename!r} would be extracted outside its folder")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UnsafeFile(f"its member {member.filename!r} is a link")
        if len(set(names)) != len(names):
            raise UnsafeFile("it contains two members with the same name")
        _raise_if_too_large(sum(member.file_size for member in members), most_bytes, "unpacks to")
        if WEIGHTS_MEMBER in names:
            with archive.open(WEIGHTS_MEMBER) as weights:
                validate_h5(io.BytesIO(weights.read()), most_bytes=most_bytes)


def validate_h5(file: Path | io.BytesIO, *, most_bytes: int) -> list[tuple[int, ...]]:
    """Reject an HDF5 file that references other files, or whose arrays exceed the limit.

    Returns:
        The shapes of its floating-point arrays, except scalars and the state of optimizers.

    Raises:
        UnsafeFile: The file is rejected.
        OSError: The file is corrupt; h5py raises other errors for that, too.
    """
    import h5py

    with h5py.File(file, "r") as opened:
        size, stored, texts = 0, 0, 0
        shapes: list[tuple[int, ...]] = []
        for name, item in _objects(opened):
            for key in item.attrs:
                attribute = item.attrs.get_id(key)
                count = prod(attribute.shape or ())
                if attribute.dtype.hasobject:
                    texts += count
                else:
                    size += count * attribute.dtype.itemsize
            if isinstance(item, h5py.Dataset):
                taken = _array_bytes(item, name)
                loaded = not name.startswith(_NOT_LOADED)
                size += taken if loaded else 0
                if loaded and item.dtype.kind == "f" and item.shape:
                    shapes.append(item.shape)
                stored += item.id.get_storage_size()
            # Inside the loop, because the remaining objects may take forever.
            _raise_if_too_large(size, most_bytes, "its arrays take")
        # Strings have the size given in the file, and several can reference the same data: at most all data outside
        # of arrays.
        _raise_if_too_large(
            texts * max(0, opened.id.get_filesize() - stored), most_bytes, "its strings may take"
        )
        return shapes


def _objects(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield every group and array of an open HDF5 file once, with its path."""
    import h5py

    waiting, seen = [("", root)], set()
    while waiting:
        name, item = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise UnsafeFile(f"{name} has several links")
        seen.add(address)
        if len(seen) > _MOST_OBJECTS:
            raise UnsafeFile(f"it contains more than {_MOST_OBJECTS:,} groups and arrays")
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        for key in item:
            child = f"{name}/{key}"
            if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                raise UnsafeFile(f"{child} is an external or symbolic link")
            waiting.append((child, item[key]))


def _array_bytes(array: Any, name: str) -> int:
    """Return the memory of an array."""
    import h5py

    created = array.id.get_create_plist()
    if created.get_external_count():
        raise UnsafeFile(f"{name} is stored in another file")
    if created.get_layout() == h5py.h5d.VIRTUAL:
        raise UnsafeFile(f"{name} is a virtual dataset of other files")
    if any(created.get_filter(number)[0] not in _FILTERS for number in range(created.get_nfilters())):
        raise UnsafeFile(f"{name} requires a filter plug-in")
    if array.dtype.kind not in "biufcV" or array.dtype.fields is not None:
        raise UnsafeFile(f"{name} is not numeric")
    return prod(array.shape or ()) * array.dtype.itemsize


def _escapes(name: str) -> bool:
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.anchor) or ".." in windows.parts


def _raise_if_too_large(size: int, most_bytes: int, verb: str) -> None:
    if size > most_bytes:
        limit = format_bytes(most_bytes)
        raise UnsafeFile(f"{verb} {format_bytes(size)}, more than the limit of {limit}")
