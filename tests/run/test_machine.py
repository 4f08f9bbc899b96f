"""What a process may use of the machine, inside and outside of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest

from imgtrain.run import machine
from imgtrain.run.machine import available_cores, available_memory_bytes, memory_bytes, peak_memory_bytes

GIB = 2**30


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that puts this process into control groups of its own making.

    It takes what `/proc/self/cgroup` says, the mounts as (kind, controller, root, folder), and {file: text} below
    these folders. The machine has 16 GiB, 12 of them available, and 8 processors.
    """
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    memory = type("memory", (), {"total": 16 * GIB, "available": 12 * GIB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def make(membership: str, mounts: list[tuple[str, str, str, str]], files: Mapping[str, str]) -> None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cgroup").write_text(membership)
        lines = [
            f"35 31 0:32 {root} {tmp_path / folder} rw,relatime - {kind} {kind} rw,{controller}\n"
            for kind, controller, root, folder in mounts
        ]
        (tmp_path / "proc/mountinfo").write_text(
            "1 0 0:1 / / rw - ext4 /dev/x rw,errors=remount-ro\n" + "".join(lines)
        )
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")

    return make


def found() -> tuple[float, float, int]:
    """Return the memory and what is available of it, in GiB, and the number of processors."""
    return memory_bytes() / GIB, available_memory_bytes() / GIB, available_cores()


def group(limit: float | str, used: float, cached: float) -> dict[str, str]:
    """Return the files of a group of version 2, of so many GiB."""
    return {
        "memory.max": limit if isinstance(limit, str) else str(int(limit * GIB)),
        "memory.current": str(int(used * GIB)),
        "memory.stat": f"anon 5\ninactive_file {int(cached * GIB)}\nactive_file 7",
    }


def below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


def test_the_real_machine() -> None:
    assert 2**28 < available_memory_bytes() <= memory_bytes() <= psutil.virtual_memory().total
    assert 2**20 < peak_memory_bytes() < memory_bytes()
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_without_control_groups(control_groups: Callable[..., None]) -> None:
    assert found() == (16, 12, 8)  # there is no such folder, as on macOS
    control_groups("0::/\n", [("cgroup2", "nsdelegate", "/", "fs")], {})
    assert found() == (16, 12, 8)


def test_the_lowest_limit_up_to_the_root_counts(control_groups: Callable[..., None]) -> None:
    files = {
        **below("fs/job", group(6, 5, 0.5)),
        "fs/job/cpu.max": "250000 100000",
        **below("fs/job/step", group("max", 1, 0)),
        "fs/job/step/cpu.max": "max 100000",
        **below("fs/job/step/task", group(8, 1, 0.25)),
        "fs/job/step/task/cpu.max": "700000 100000",
        **below("fs/other", group(1, 1, 0)),
    }
    control_groups("0::/job/step/task\n", [("cgroup2", "nsdelegate", "/", "fs")], files)
    # The job may take 6 GiB, of which 5 are used; half a GiB of these is files that can be read again.
    assert found() == (6, 1.5, 3)


def test_a_container_that_sees_its_own_group_as_the_root(control_groups: Callable[..., None]) -> None:
    control_groups("0::/\n", [("cgroup2", "nsdelegate", "/", "fs")], below("fs", group(2, 3, 0)))
    assert found() == (2, 0, 8)


@pytest.mark.parametrize("root", ["/docker/0123", "/elsewhere"])
def test_version_1_where_only_the_own_group_is_mounted(
    control_groups: Callable[..., None], root: str
) -> None:
    control_groups(
        "9:name=systemd:/\n4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n0::/\n",
        [
            ("cgroup", "memory", root, "memory"),
            ("cgroup", "cpu,cpuacct", root, "cpu"),
            ("cgroup2", "", "/", "unified"),
        ],
        {
            "memory/memory.limit_in_bytes": str(4 * GIB),
            "memory/memory.usage_in_bytes": str(3 * GIB),
            "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}",
            "cpu/cpu.cfs_quota_us": "50000",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert found() == (4, 2, 1)


def test_version_1_below_the_root(control_groups: Callable[..., None]) -> None:
    files = {}
    for folder, limit in (
        ("memory", 2**63 - 4096),
        ("memory/slurm", 5 * GIB),
        ("memory/slurm/job", 2**63 - 4096),
    ):
        files[f"{folder}/memory.limit_in_bytes"] = str(limit)
        files[f"{folder}/memory.usage_in_bytes"] = str(GIB)
        files[f"{folder}/memory.stat"] = "total_inactive_file 0"
    files |= {"cpu/slurm/job/cpu.cfs_quota_us": "-1", "cpu/slurm/job/cpu.cfs_period_us": "100000"}
    control_groups(
        "4:memory:/slurm/job\n1:cpu:/slurm/job\n",
        [("cgroup", "memory", "/", "memory"), ("cgroup", "cpu", "/", "cpu")],
        files,
    )
    assert found() == (5, 4, 8)


def test_the_peak_is_that_of_this_process_and_not_of_the_one_that_started_it() -> None:
    large = np.ones(40_000_000)  # 320 MB
    code = "from imgtrain.run.machine import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < int(done.stdout) < large.nbytes <= peak_memory_bytes()


def test_the_processor_is_described_by_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine, "_CPUINFO", file)
    assert machine.processor_flags() == frozenset()  # as on macOS and Windows
    assert machine.processor_name()
    first = "processor\t: 0\nmodel name\t: A: processor\nflags\t\t: fpu avx512_bf16 avx2\n"
    file.write_text(f"{first}\nprocessor\t: 1\nmodel name\t: another\nflags\t\t: sse\n", encoding="ascii")
    assert machine.processor_flags() == {"fpu", "avx512_bf16", "avx2"}
    assert machine.processor_name() == "A: processor"


def test_without_affinity_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PROC", Path("nowhere"))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [0, 2, 4])  # as on Windows
    assert available_cores() == 3
    monkeypatch.delattr(psutil.Process, "cpu_affinity")  # as on macOS
    monkeypatch.setattr(psutil, "cpu_count", lambda: 6)
    assert available_cores() == machine.total_cores() == 6
