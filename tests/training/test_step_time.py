"""Step times on a clock that only steps advance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from imgtrain.training.step_time import time_steps


class Batches:
    """Batches of 10, the last one of the rest."""

    def __init__(self, images: int) -> None:
        self.images_per_epoch = images

    def batch(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(min(10, self.images_per_epoch - 10 * step)), np.zeros(1)

    def read_ahead(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from (self.batch(epoch, step) for step in range(-(-self.images_per_epoch // 10)))


class Steps:
    """Steps that take `cost` seconds for each image, and ten seconds more for the first of each kind."""

    def __init__(self, cost: float) -> None:
        self.now, self.cost, self.called = 0.0, cost, set()

    def take(self, kind: str, batch: tuple[np.ndarray, ...]) -> None:
        self.now += len(batch[0]) * self.cost + (0 if kind in self.called else 10)
        self.called.add(kind)

    def train(self, batch: tuple[np.ndarray, ...]) -> None:
        self.take("train", batch)

    def validate(self, batch: tuple[np.ndarray, ...]) -> None:
        self.take("validate", batch)


@pytest.mark.parametrize("cost", [0.0001, 0.01, 1.0])
@pytest.mark.parametrize("images", [40, 10_000])
def test_the_first_steps_and_their_compilation_are_left_out(cost, images):
    steps = Steps(cost)
    times = time_steps(steps, Batches(images), Batches(205), seconds=2.0, clock=lambda: steps.now)
    assert times.step == pytest.approx(10 * cost)
    # From its first batches to all images, the smaller last batch included.
    assert times.validation == pytest.approx(205 * cost)


def test_a_smaller_last_batch_counts_with_its_share():
    steps = Steps(0.1)
    times = time_steps(steps, Batches(15), None, seconds=100.0, clock=lambda: steps.now)
    assert times.step == pytest.approx(0.75, rel=0.02)
    assert times.validation == 0


def test_few_fast_steps_are_enough_and_slow_ones_end_in_time():
    for cost, most in ((1e-9, 11), (1.0, 11), (0.001, 3 + 200 + 1)):
        steps = Steps(cost)
        seen = []
        train = steps.train
        steps.train = lambda batch, train=train, seen=seen: (seen.append(1), train(batch))
        time_steps(
            steps, Batches(10_000), None, seconds=2.0 if cost != 1e-9 else 0.0, clock=lambda s=steps: s.now
        )
        assert len(seen) <= most
