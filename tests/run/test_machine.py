"""How much memory there is, with and without a control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtrain.run import machine as memory
from imgtrain.run.machine import available_memory_bytes, memory_bytes


def test_memory_is_that_of_the_control_group_if_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = memory_bytes()
    assert machine > 2**28
    assert 0 < available_memory_bytes() <= machine
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n", encoding="ascii")
    monkeypatch.setattr(memory, "_LIMITS", (str(limit), str(tmp_path / "missing")))
    assert memory_bytes() == available_memory_bytes() == 1048576
    limit.write_text("max\n", encoding="ascii")
    assert memory_bytes() >= machine
