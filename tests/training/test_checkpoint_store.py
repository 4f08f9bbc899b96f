"""Checkpoints on disk: whole or not there, two of them, and no array twice."""

import errno
import os
import time

import numpy as np
import pytest

from imgtrain.errors import RunFileError
from imgtrain.training.checkpoint_store import Checkpoint, CheckpointStore
from imgtrain.training.checkpointing import Checkpointer


def make(step, best=0):
    return Checkpoint(
        {"seed": 1},
        {"step": step, "loss": 0.1 + 0.2},
        {
            "weights": [
                np.full((3, 2), step, np.float32),
                np.array(step, np.int64),
                np.zeros((0, 4), np.float32),
            ],
            "best": [np.full((3, 2), best, np.float32)],
            "none": [],
        },
    )


def names(folder):
    return sorted(path.name for path in folder.path.iterdir())


def test_what_is_read_is_what_was_written(tmp_path):
    folder = CheckpointStore(tmp_path / "checkpoints")
    assert not folder
    assert folder.load() is None
    folder.save(make(7))
    assert folder
    found = folder.load()
    assert (found.origin, found.progress) == ({"seed": 1}, {"step": 7, "loss": 0.1 + 0.2})
    for name, arrays in make(7).arrays.items():
        for array, wanted in zip(found.arrays[name], arrays, strict=True):
            assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
            np.testing.assert_array_equal(array, wanted)


def test_two_are_kept_and_no_array_is_written_twice(tmp_path):
    folder = CheckpointStore(tmp_path / "checkpoints")
    for step in range(5):
        folder.save(make(step))
    kept = names(folder)
    assert [name for name in kept if name.endswith(".json")] == [
        "checkpoint-000004.json",
        "checkpoint-000005.json",
    ]
    # Two of weights, one of the best, one of nothing.
    assert len([name for name in kept if name.endswith(".arrays")]) == 4
    folder.keep_newest()
    assert len(names(folder)) == 4
    assert folder.load().progress["step"] == 4
    folder.remove()
    assert not folder.path.exists()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    folder = CheckpointStore(tmp_path / "checkpoints")
    folder.save(make(1))
    (folder.path / ".checkpoint-000002-ab.json").write_text("x")
    (folder.path / ".0123-ab.arrays").write_text("x")
    (folder.path / "0123.arrays").write_text("x")
    folder.save(make(2))
    assert not [name for name in names(folder) if name.startswith((".", "0123"))]
    assert folder.load().progress["step"] == 2


@pytest.mark.parametrize("place", range(0, 2000, 37))
def test_no_flipped_byte_goes_unseen(tmp_path, place):
    folder = CheckpointStore(tmp_path / "checkpoints")
    folder.save(make(1))
    folder.save(make(2))
    newest = folder.path / "checkpoint-000002.json"
    content = bytearray(newest.read_bytes())
    content[place % len(content)] ^= 4
    newest.write_bytes(content)
    warnings = []
    assert folder.load(warnings.append).progress["step"] == 1
    assert len(warnings) == 1


def test_a_checkpoint_of_another_version_is_not_read(tmp_path, monkeypatch):
    folder = CheckpointStore(tmp_path / "checkpoints")
    monkeypatch.setattr("imgtrain.training.checkpoint_store.FORMAT_VERSION", 99)
    folder.save(make(1))
    monkeypatch.undo()
    warnings = []
    with pytest.raises(RunFileError, match="all checkpoints are damaged"):
        folder.load(warnings.append)
    assert "format 99" in warnings[0].text


def test_a_full_disk_leaves_the_earlier_ones_and_reaches_the_training(tmp_path, monkeypatch):
    folder = CheckpointStore(tmp_path / "checkpoints")
    checkpoints = Checkpointer(folder, origin={}, minutes=5)
    checkpoints.save({"step": 1}, make(1).arrays)
    checkpoints.wait()
    before = names(folder)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    checkpoints.save({"step": 2}, make(2).arrays)
    with pytest.raises(RunFileError, match="No space left"):
        checkpoints.wait()
    assert names(folder) == before
    assert folder.load().progress == {"step": 1}


def test_the_time_between_two_does_not_follow_the_clock_on_the_wall(tmp_path, monkeypatch):
    checkpoints = Checkpointer(CheckpointStore(tmp_path / "checkpoints"), origin={}, minutes=5)
    monkeypatch.setattr("time.time", lambda: 1e12)
    assert not checkpoints.are_due()
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 301)
    assert checkpoints.are_due()


@pytest.mark.tensorflow
def test_a_captured_state_stays_as_it_was_while_training_goes_on():
    from imgtrain.model.runtime import keras
    from imgtrain.training.state import capture_arrays, restore_arrays

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5), keras.layers.Dense(32)])
    model.compile("adam", "mse", metrics=["mae"])
    rng = np.random.default_rng(0)
    images, targets = rng.normal(size=(16, 64)).astype("f4"), rng.normal(size=(16, 32)).astype("f4")
    model.train_on_batch(images, targets)
    captured = capture_arrays(model, None)
    copied = {name: [np.array(array) for array in arrays] for name, arrays in captured.items()}
    assert {name for name, arrays in copied.items() if arrays} == {
        "weights",
        "random",
        "optimizer",
        "metrics",
    }
    ended = []
    for _ in range(2):
        for _ in range(3):
            model.train_on_batch(images, targets)
        ended.append([weight.tobytes() for weight in model.get_weights()])
        for name, arrays in captured.items():
            for array, copy in zip(arrays, copied[name], strict=True):
                np.testing.assert_array_equal(np.asarray(array), copy)
        restore_arrays(model, copied)
    assert ended[0] == ended[1]

    other = keras.Sequential([keras.Input((64,)), keras.layers.Dense(31)])
    other.compile("adam", "mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(RunFileError, match="do not match this model"):
        restore_arrays(other, copied)
