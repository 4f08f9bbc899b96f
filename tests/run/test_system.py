"""What takes the place of what the system doesn't have; hidden here, on a system that has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imgtrain.run import system


def test_files_are_read_and_written_at_an_offset_on_every_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = system.open_binary(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    for offset, hidden in ((0, ()), (3, ("preadv", "pwrite"))):
        for name in hidden:
            monkeypatch.delattr(os, name)
        content = os.urandom(9)
        assert system.write_at(descriptor, memoryview(content), offset) == 9
        buffer = bytearray(7)
        assert system.read_at(descriptor, memoryview(buffer), offset + 2) == 7
        assert buffer == content[2:]
        assert system.read_at(descriptor, memoryview(buffer), offset + 5) == 4
        assert buffer[:4] == content[5:]
        assert system.read_at(descriptor, memoryview(buffer), 100) == 0
    os.close(descriptor)


def test_space_is_reserved_where_the_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = system.open_binary(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    if hasattr(os, "posix_fallocate"):
        assert system.reserve_space(descriptor, 5000)
        assert os.fstat(descriptor).st_size == 5000
        monkeypatch.delattr(os, "posix_fallocate")
    assert not system.reserve_space(descriptor, 9000)
    os.close(descriptor)


def test_windows_flushes_writable_files_and_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "file").touch()
    opened: list[tuple[Path, int]] = []
    real = os.open

    def watch(path: Path, flags: int) -> int:
        opened.append((path, flags))
        return real(path, flags)

    monkeypatch.setattr(os, "open", watch)
    system.flush_to_disk(file)
    system.flush_to_disk(tmp_path)
    assert opened == [(file, os.O_RDONLY), (tmp_path, os.O_RDONLY)]
    opened.clear()
    monkeypatch.setattr(system, "_WINDOWS", True)
    system.flush_to_disk(file)
    system.flush_to_disk(tmp_path)
    assert opened == [(file, os.O_RDWR)]


@pytest.mark.parametrize("hide", ["", "del signal.setitimer"])
def test_a_process_ends_after_its_time(hide: str) -> None:
    code = (
        f"import signal; {hide}\n"
        "from imgtrain.run.system import cancel_exit, exit_after\n"
        "exit_after(0.01); cancel_exit(); exit_after(60); exit_after(0.3)\n"
        "print('started', flush=True)\n"
        "while True: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "started\n"
    assert done.returncode == (1 if hide else -signal.SIGALRM)


def test_without_limits_a_process_runs_without_them() -> None:
    code = (
        "import sys; sys.modules['resource'] = None\n"
        "from imgtrain.run.system import limit_process\n"
        "limit_process(0); print(len(bytes(1 << 25)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == f"{1 << 25}\n", done.stderr
