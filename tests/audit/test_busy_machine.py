"""Checks of a larger folder, alone and beside processes that take the processors: always the same answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# From this many images on, what the audit needs next is imported while the images are decoded.
MANY = 500
# Of the planted copies.
EXPECTED = {"label-conflict", "leak"}


def draw_folder(root: Path, count: int, side: int) -> Path:
    """Draw `count` pictures of soft blots in two splits of four classes, every tenth a copy of an earlier one."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("test" if number % 5 == 0 else "train") / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        if number % 10 or not number:
            blots = rng.integers(0, 256, (8, 8, 3), np.uint8)
            picture = Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05}.jpg", quality=85)
    return root


@pytest.fixture
def two_busy_processes() -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def test_modules_are_imported_by_the_main_thread_alone(tmp_path: Path) -> None:
    """Two threads inside packages whose modules import each other end in Python's deadlock error."""
    folder = draw_folder(tmp_path / "data", MANY + 100, 24)
    code = f"""
import sys, threading
from pathlib import Path
import imgtrain.audit.check as audit
elsewhere = set()
class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            elsewhere.add(name)
sys.meta_path.insert(0, Watch())
audit.check(Path({str(folder)!r}))
print(sorted(elsewhere), "sklearn.tree" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[] True\n"


@pytest.mark.usefixtures("two_busy_processes")
@pytest.mark.parametrize(
    ("checks", "count", "side"),
    [(2, MANY + 100, 24), pytest.param(30, 2000, 128, marks=pytest.mark.slow)],
)
def test_checks_in_a_row_beside_busy_processes_say_the_same(
    imgtrain_process: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    checks: int,
    count: int,
    side: int,
) -> None:
    folder = draw_folder(tmp_path / "data", count, side)
    answers = set()
    for number in range(checks):
        # A cache of its own makes each of them decode everything again.
        environment = {"XDG_CACHE_HOME": str(tmp_path / f"cache{number}")}
        done = imgtrain_process("check", folder, "--json", env=environment)
        assert done.stderr == ""
        assert done.returncode in (0, 3), done.stdout
        answers.add(done.stdout)
    (answer,) = answers
    assert {finding["code"] for finding in json.loads(answer)["findings"]} == EXPECTED
