"""Windows and macOS, as far as they can be tested on Linux: imgtrain without what only Linux or POSIX systems have."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import REPOSITORY

# The only modules that use them, behind a check and with a fallback.
SYSTEM_MODULES = {"imgtrain/run/system.py", "imgtrain/run/machine.py"}
NOT_EVERYWHERE = re.compile(
    r"^\s*(import|from) (resource|fcntl|termios|pwd|grp|posix|msvcrt|winreg)\b"
    r"|/proc/|/sys/|/dev/"
    r"|\bos\.(sysconf|fork|preadv?|pwritev?|posix_\w+|sched_\w+|nice|getuid|geteuid|statvfs|mkfifo|killpg|O_CLOEXEC)\b"
    r"|\bsignal\.(setitimer|alarm|SIG(KILL|ALRM|HUP|USR1|USR2|CHLD|STOP))\b"
    r"|\bpreexec_fn|\bRLIMIT_|\bru_maxrss",
    re.MULTILINE,
)

# Third-party packages choose by system when they are imported, so they are imported before.
HIDE = """
import sys
import cv2, filelock, jinja2, matplotlib.figure, numpy, PIL.Image, platformdirs, psutil, pydantic, rich, scipy.sparse
import scipy.special, scipy.stats, sklearn, typer, xxhash, yaml, h5py
import multiprocessing.connection, os, select, signal, subprocess, tempfile
for name in ("resource", "fcntl", "termios", "pwd", "grp", "posix"):
    sys.modules[name] = None
hidden = {
    os: "sysconf fork preadv pread pwrite pwritev posix_fallocate sched_getaffinity register_at_fork nice getuid "
    "mkfifo killpg O_CLOEXEC",
    signal: "setitimer alarm SIGKILL SIGALRM SIGHUP",
    select: "poll epoll",
}
for module, names in hidden.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""

IMPORT_ALL = """
import importlib, pkgutil
import imgtrain
needs_tensorflow = tuple(f"imgtrain.{name}." for name in "model training evaluation export workflows".split())
names = [module.name for module in pkgutil.walk_packages(imgtrain.__path__, "imgtrain.")]
for name in names:
    if not name.startswith(needs_tensorflow) and name != "imgtrain.__main__":
        importlib.import_module(name)
print(len(names))
"""

# The whole way to batches, with the channels and renames of Windows.
RUN = """
from pathlib import Path
from imgtrain.pixels import decode_workers, packed_file
from imgtrain.run import system
decode_workers._INHERIT = packed_file.RENAMES_OPEN_FILES = False
system._WINDOWS = True
from imgtrain.audit.check import check
from imgtrain.batches.make_batches import make_batches
from imgtrain.config import load_config
from imgtrain.dataset.plan import make_plan
from imgtrain.pixels.load_images import load_images
from imgtrain.run.run_directory import RunDirectory
folder = Path(sys.argv[1])
text = "data: {train: train, target_size: 8, validation_split: 0.5, cache_directory: cache, on_bad_image: skip}"
(folder / "config.yaml").write_text(text)
(folder / "train" / "a" / "bad.png").write_bytes(b"bad")
report = check(folder / "config.yaml")
plan = make_plan(load_config(folder / "config.yaml"))
digests = []
for attempt in range(2):  # decoded, then read from the cache
    images = load_images(plan.config, plan.splits)
    batches = make_batches(plan, images, inference_batch_size=4)
    pixels, labels = batches["train"].to_arrays()
    digests.append((pixels.shape, int(pixels.sum()), labels.tolist()))
assert digests[0] == digests[1]
run = RunDirectory(folder / "run")
with run.locked(), run.opened({}):
    pass
print(sorted({finding.code for finding in report.findings}), len(list((folder / "cache").glob("*.pixels"))))
print(digests[0][0], run.read_run()["status"])
"""


def run(*code: str, folder: Path | None = None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", "".join(code), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_only_the_modules_for_it_use_what_some_systems_do_not_have() -> None:
    found = {
        f"{path.relative_to(REPOSITORY).as_posix()}: {match[0].strip()}"
        for path in (REPOSITORY / "imgtrain").rglob("*.py")
        if path.relative_to(REPOSITORY).as_posix() not in SYSTEM_MODULES
        for match in NOT_EVERYWHERE.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found
    assert all(
        NOT_EVERYWHERE.search((REPOSITORY / name).read_text(encoding="utf-8")) for name in SYSTEM_MODULES
    )


def test_every_module_before_tensorflow_can_be_imported_elsewhere() -> None:
    (count,) = run(HIDE, IMPORT_ALL)
    assert int(count) > 100


def test_images_are_checked_loaded_and_cached_elsewhere(
    make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    make_folders(tmp_path, {"train": {"a": 6, "b": 6}}, side=9)
    lines = run(HIDE, RUN, folder=tmp_path)
    assert lines[-1] == "(6, 8, 8, 3) completed"


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_run_with_the_worker_processes_of_windows(
    make_folders: Callable[..., Path],
    imgtrain: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from imgtrain.pixels import decode_workers

    decode_workers.stop_idle_workers()
    monkeypatch.setattr(decode_workers, "_INHERIT", False)
    make_folders(tmp_path, {"train": {"a": 6, "b": 6}, "test": {"a": 3, "b": 3}}, side=9)
    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {train: train, test: test, validation_split: 0.5, target_size: 8, cache: none}\n"
        "model: {layers: [Flatten]}\ntraining: {epochs: 1}\n"
    )
    done = imgtrain("train", config, "--output", tmp_path / "run")
    decode_workers.stop_idle_workers()
    assert done.returncode == 0, done.stderr
    done = imgtrain("predict", tmp_path / "run", tmp_path / "test", "--output", tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 7
