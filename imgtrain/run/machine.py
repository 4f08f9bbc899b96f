"""What the machine has, and what this process may use of it: processors and memory, within its control groups.

psutil knows the machine, on every system. It does not know control groups, with which Linux limits containers, SLURM
jobs and systemd services: a process asks those that it is in, from its own up to the root.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

__all__ = [
    "available_cores",
    "available_memory_bytes",
    "memory_bytes",
    "peak_memory_bytes",
    "processor_flags",
    "processor_name",
    "total_cores",
]

_PROC = Path("/proc/self")
_CPUINFO = Path("/proc/cpuinfo")


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or the lowest limit of its control groups."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _memory_limits())])


def available_memory_bytes() -> int:
    """Return what can be taken without swapping: of the machine's memory, and below every limit."""
    left = [max(0, limit - used) for limit, used in _memory_limits()]
    return min([int(psutil.virtual_memory().available), *left])


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    # Linux counts the process that started this one in `ru_maxrss`, and names its own peak beside it.
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_cores() -> int:
    """Return how many processors this process may use, 1 or more, at once or as a share of time, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    elif hasattr(psutil.Process, "cpu_affinity"):  # Windows
        cores = len(psutil.Process().cpu_affinity())
    else:
        cores = total_cores()
    return min([cores, *(max(1, math.ceil(share)) for share in _processor_limits())])


def total_cores() -> int:
    """Return the machine's number of logical processors, whatever this process may use of them."""
    return int(psutil.cpu_count() or 1)


def processor_name() -> str:
    """Return the model of the processor, or what the system calls it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine() or "CPU"


def processor_flags() -> frozenset[str]:
    """Return the features of the processor by Linux's names, such as `avx512_bf16`; empty on other systems."""
    return frozenset(_cpuinfo().get("flags", "").split())


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says about the first processor."""
    try:
        first, _, _ = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield the limit of each control group that has one, and what of it is used, both in bytes.

    Cached files are not counted as used, as far as they can be dropped at once.
    """
    for group in _control_groups("memory"):
        for limit, used, droppable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
        ):
            # No such file, or the word `max`.
            with suppress(OSError, ValueError):
                most = int(_read(group / limit))
                statistics = dict(line.split() for line in _read(group / "memory.stat").splitlines())
                yield most, int(_read(group / used)) - int(statistics[droppable])


def _processor_limits() -> Iterator[float]:
    """Yield how many processors' time each control group may take, if it has a limit."""
    for group in _control_groups("cpu"):
        with suppress(OSError, ValueError):
            quota, period = map(int, _read(group / "cpu.max").split())
            yield quota / period
        with suppress(OSError, ValueError):  # version 1
            quota, period = (int(_read(group / f"cpu.cfs_{what}_us")) for what in ("quota", "period"))
            if quota > 0:
                yield quota / period


def _control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, from its own up to the root.

    https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/cgroups.html
    """
    with suppress(OSError):
        mounts = _mounts(controller)
        for line in _read(_PROC / "cgroup").splitlines():
            _, controllers, name = line.split(":", 2)
            version = 1 if controller in controllers.split(",") else 2 if not controllers else 0
            for root, mount in mounts.get(version, []):
                # In a container, only what is below its own group may be mounted.
                group = PurePosixPath(name)
                inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
                folder = mount / inside
                yield from (folder, *folder.parents[: len(inside.parts)])


def _mounts(controller: str) -> dict[int, list[tuple[str, Path]]]:
    """Return which groups are mounted and where, for version 2 and, with the controller, version 1."""
    mounts: dict[int, list[tuple[str, Path]]] = {1: [], 2: []}
    for line in _read(_PROC / "mountinfo").splitlines():
        mount, _, file_system = line.partition(" - ")
        root, folder = mount.split()[3:5]
        kind, _, options = file_system.split(" ", 2)
        if kind == "cgroup2":
            mounts[2].append((root, Path(folder)))
        elif kind == "cgroup" and controller in options.split(","):
            mounts[1].append((root, Path(folder)))
    return mounts


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")
