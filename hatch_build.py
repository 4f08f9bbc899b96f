"""Refuse an installation from source where it cannot work, in a sentence.

Without this, pip reports that no version of TensorFlow satisfies the requirements. pip itself names an unsupported
version of Python (`requires-python`).
"""

from __future__ import annotations

import platform
import struct
import sys
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_SUPPORTED = (
    "imgtrain requires 64-bit Python on Linux with glibc (x86-64 or ARM64), macOS on Apple silicon, "
    "or Windows (x86-64)"
)


class SupportedPlatform(MetadataHookInterface):
    """Runs before pip looks for the dependencies."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Exit on a platform without TensorFlow; otherwise set the keywords, without which hatch doesn't run this."""
        problem = find_platform_problem(
            system=platform.system(),
            machine=platform.machine(),
            libc=platform.libc_ver()[0],
            bits=8 * struct.calcsize("P"),
        )
        if problem:
            sys.exit(f"{problem}. {_SUPPORTED}, the platforms of TensorFlow's packages.")
        metadata["keywords"] = [
            "image classification",
            "keras",
            "tensorflow",
            "augmentation",
            "ImageDataGenerator",
        ]


def find_platform_problem(*, system: str, machine: str, libc: str, bits: int) -> str:
    """Return why TensorFlow has no package for a platform; empty if it has one.

    Args:
        system: `platform.system()`.
        machine: `platform.machine()`.
        libc: Name of the C library on Linux: `glibc`, or empty for others, such as Alpine's musl.
        bits: Size of a pointer.
    """
    if bits != 64:
        return f"This is {bits}-bit Python"
    machines = {
        "Linux": ("x86_64", "aarch64"),
        "Darwin": ("arm64",),
        "Windows": ("AMD64", "x86_64"),
    }
    if system not in machines:
        return f"{system or 'This system'} is not supported"
    if machine not in machines[system]:
        return f"{'macOS' if system == 'Darwin' else system} on {machine} is not supported"
    if system == "Linux" and libc != "glibc":
        return "Linux without glibc, such as Alpine, is not supported"
    return ""
