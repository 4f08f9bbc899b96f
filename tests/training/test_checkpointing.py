"""When a checkpoint is written at the end of an epoch."""

import time

import pytest

pytestmark = pytest.mark.tensorflow


class BusyFolder:
    """Stands for a folder; writing takes some processor time."""

    def __init__(self, seconds):
        self._seconds = seconds

    def save(self, checkpoint):
        until = time.thread_time() + self._seconds
        while time.thread_time() < until:
            pass


def make_checkpoints(seconds):
    from imgtrain.training.checkpointing import Checkpointer

    return Checkpointer(BusyFolder(seconds), origin={}, minutes=5)


def test_cheap_checkpoints_are_always_affordable():
    checkpoints = make_checkpoints(0.0)
    assert checkpoints.are_affordable()
    checkpoints.save({}, {})
    checkpoints.wait()
    assert checkpoints.are_affordable()


def test_dear_checkpoints_wait_until_they_are_a_small_share_of_the_time(monkeypatch):
    checkpoints = make_checkpoints(0.2)
    assert checkpoints.are_affordable()
    checkpoints.save({}, {})
    assert not checkpoints.are_affordable()
    checkpoints.wait()
    assert not checkpoints.are_affordable()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 5)
    assert not checkpoints.are_affordable()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert checkpoints.are_affordable()
    # Inside an epoch they are due by the clock alone.
    assert not checkpoints.are_due()
