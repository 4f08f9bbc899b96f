"""Small data sets, and the real command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True, scope="session")
def _caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep every test, and every command that it starts, away from the user's caches."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _interrupts_arrive() -> None:
    """A shell that starts the tests in the background has them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def make_folders() -> Callable[..., Path]:
    """Return a function that draws class folders that a small network can tell apart.

    It takes a root and {split: {class name: count}}; the pictures of class k are noise around a level of
    their own, and no two are equal.
    """

    def make(root: Path, splits: Mapping[str, Mapping[str, int]], side: int = 24) -> Path:
        rng = np.random.default_rng(5)
        for split, classes in splits.items():
            for label, (name, count) in enumerate(classes.items()):
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                level = 40 + 180 * label // max(1, len(classes) - 1)
                for number in range(count):
                    noise = rng.integers(-35, 36, (side, side, 3))
                    pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        return root

    return make


@pytest.fixture(scope="session")
def imgtrain() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command in this process and returns what it printed.

    It calls the application with the words of a command line; only the start of Python and TensorFlow, several
    seconds, is left out. `imgtrain_process` runs the real command.
    """

    def run(
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        from typer.testing import CliRunner

        from imgtrain.cli.main import app

        words = [str(argument) for argument in arguments]
        # A command handles SIGTERM until its process ends.
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.chdir(cwd or Path.cwd()):
                done = CliRunner().invoke(app, words, input=stdin, env=env, catch_exceptions=False)
        finally:
            signal.signal(signal.SIGTERM, handler)
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def imgtrain_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the real command and returns what it printed."""

    def run(
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: int = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "imgtrain", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def imported_modules() -> Callable[..., set[str]]:
    """Return a function that runs Python code in a fresh process and returns the modules it imported."""

    def run(code: str, cwd: Path | None = None) -> set[str]:
        report = "import sys as _sys; print('MODULES', *{name.split('.')[0] for name in _sys.modules})"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\n{report}"],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES"))
        return set(line.split()[1:])

    return run


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes files of one byte below a folder and returns the folder."""

    def make(*paths: str, root: str = "data") -> Path:
        folder = tmp_path / root
        folder.mkdir(exist_ok=True)
        for path in paths:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if not path.endswith("/"):
                file.write_bytes(b"x")
            else:
                file.mkdir(exist_ok=True)
        return folder

    return make


@pytest.fixture
def photo() -> Image.Image:
    """A 40 by 28 picture with soft and hard edges in all three channels."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 255, 40)[None, :, None] * np.array([1.0, 0.6, 0.2])
    noise = rng.integers(0, 80, (28, 40, 3))
    return Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def image_folders(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes {class: count} random PNG pictures and returns their folder."""

    def make(classes: Mapping[str, int], root: str = "images", seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        folder = tmp_path / root
        for name, count in classes.items():
            (folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (9, 7, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
        return folder

    return make
