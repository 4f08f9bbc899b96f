"""A real process, really killed: at 20 random moments, in batches and while files are written.

The moments follow from a seed, which is printed; `IMGTRAIN_KILL_SEED=N pytest tests/cli/test_kill.py` repeats those
of seed N. A moment is either the n-th time that a file of the run is opened, renamed or removed, which is the same in
every run, or some time after a checkpoint, which the machine's load shifts.
"""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from run_results import results

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

KILLS = 11  # of each of the two formats; one of them is the SIGTERM
# Runs the command that follows, and kills its process the n-th time that it does something to a file of the run.
KILLER = """
import os, signal, sys

left, run = int(sys.argv.pop(1)), sys.argv.pop(1)


def watch(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and run in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


from imgtrain.cli.main import main

sys.addaudithook(watch)
main()
"""
CONFIG = """
data: {train: train, validation: validation, test: test, target_size: [12, 12], batch_size: 4}
augmentation: {rotation_range: 30, zoom_range: 0.2, brightness_range: [0.7, 1.3], horizontal_flip: true}
model:
  layers:
    - Conv2D: {filters: 4, kernel_size: 3, activation: relu}
    - BatchNormalization
    - Flatten
    - Dropout: 0.3
    - Dense: {units: 8, activation: relu}
training:
  epochs: 40
  optimizer: {name: adam, learning_rate: 0.003}
  early_stopping: {monitor: val_loss, patience: 25, min_delta: 0.001}
  reduce_lr_on_plateau: {monitor: val_loss, patience: 2, factor: 0.7, min_delta: 0.01}
  checkpoint_minutes: 1.0e-6  # after every batch: most kills hit the writing of one
"""


def start(folders, run, *options, kill_at_event=None):
    program = ["-m", "imgtrain"] if kill_at_event is None else ["-c", KILLER, kill_at_event, run]
    arguments = [*program, "train", folders / "c.yaml", "--output", run, *options]
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(folders / "cache")},
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders):
    counts = {"train": 22, "validation": 6, "test": 6}
    root = make_folders(
        tmp_path_factory.mktemp("images"), {split: {"a": n, "b": n} for split, n in counts.items()}
    )
    (root / "c.yaml").write_text(CONFIG)
    return root


@pytest.fixture(scope="module")
def unbroken(folders):
    """Return two runs that nobody killed, and what they printed; they started at once on a cold cache."""
    processes = [start(folders, folders / name) for name in ("first", "second")]
    printed = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return [folders / "first", folders / "second"], printed


def test_two_runs_at_once_on_a_cold_cache_are_both_right_and_decode_once(unbroken):
    runs, printed = unbroken
    assert results(runs[0]) == results(runs[1])
    for split, count in (("train", 44), ("validation", 12), ("test", 12)):
        assert sum(f"decoding {split}: {count} images in" in out for out, _ in printed) == 1


def kill_again_and_again(folders, suffix, chance):
    """Train one run to its end in as many processes as it takes; return what the processes ended with."""
    run = folders / f"killed-{suffix}"
    statuses = []
    while len(statuses) < KILLS or statuses[-1] != 0:
        # Both are drawn each time, so that a moment depends on nothing but its number.
        event, seconds = chance.randint(1, 120), chance.uniform(0, 0.4)
        terminates, by_event = len(statuses) == KILLS // 2, len(statuses) % 2 == 0
        options = ("--resume", "--set", f"output.model=model.{suffix}")
        if len(statuses) >= KILLS:
            process = start(folders, run, *options)
        elif by_event and not terminates:
            process = start(folders, run, *options, kill_at_event=event)
        else:
            process = start(folders, run, *options)
            before = set(run.glob("checkpoints/checkpoint-*.json"))
            while process.poll() is None and set(run.glob("checkpoints/checkpoint-*.json")) <= before:
                time.sleep(0.002)
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM if terminates else signal.SIGKILL)
        _, errors = process.communicate(timeout=600)
        statuses.append(process.returncode)
        assert process.returncode in (0, -signal.SIGKILL, 130), errors
        if process.returncode == 130:
            assert f"imgtrain train {run}/config.yaml --resume" in errors
    return run, statuses


def test_a_process_killed_at_random_instants_ends_like_the_one_that_never_was(unbroken, folders):
    wanted = results(unbroken[0][0])
    assert len(wanted["history"]) > 5
    seed = int(os.environ.get("IMGTRAIN_KILL_SEED") or time.time_ns())
    print(f"IMGTRAIN_KILL_SEED={seed}")
    chances = [random.Random(seed), random.Random(seed + 1)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(kill_again_and_again, [folders] * 2, ["keras", "h5"], chances))
    for run, statuses in ended:
        assert results(run) == wanted
        assert statuses.count(130) == 1
        assert statuses.count(-signal.SIGKILL) == KILLS - 1
