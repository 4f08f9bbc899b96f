"""A time budget is kept, its own timing and all validation included: on a clock that only steps advance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from imgtrain.config import parse_config

pytestmark = pytest.mark.tensorflow

BATCH = 32


class Clock:
    """Seconds that pass when something says that it took time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeBatches:
    """Batches of nothing but labels; each epoch takes some time to start."""

    def __init__(self, clock: Clock, images: int, *, start: float) -> None:
        self.clock, self.images_per_epoch, self.start = clock, images, start
        self.steps_per_pass = -(-images // BATCH)

    def batch(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        count = min(BATCH, self.images_per_epoch - step * BATCH)
        return np.zeros(count), np.zeros(count)

    def read_ahead(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.clock.now += self.start
        for step in range(self.steps_per_pass):
            yield self.batch(epoch, step)


class FakeSteps:
    """Steps that take as long as they are told; building and the first calls take longer."""

    def __init__(self, clock: Clock, *, step: float, validation_per_image: float) -> None:
        self.clock, self.step, self.validation_per_image = clock, step, validation_per_image
        self.calls = {"train": 0, "validate": 0}
        self.rng = np.random.default_rng(0)

    def build(self) -> None:
        self.clock.now += 1.5

    def train(self, batch: tuple[np.ndarray, ...]) -> None:
        self.calls["train"] += 1
        cold = 1.5 if self.calls["train"] == 1 else 0.0
        self.clock.now += cold + self.step * len(batch[0]) / BATCH * self.rng.uniform(0.8, 1.2)

    def validate(self, batch: tuple[np.ndarray, ...]) -> None:
        self.calls["validate"] += 1
        cold = 0.5 if self.calls["validate"] == 1 else 0.0
        self.clock.now += cold + self.validation_per_image * len(batch[0])


@pytest.mark.parametrize("minutes", [0.5, 1, 3, 10])
@pytest.mark.parametrize("step", [0.004, 0.03, 0.2])
@pytest.mark.parametrize(("images", "validated"), [(100, 20), (2000, 500), (2000, 0), (60_000, 10_000)])
def test_training_ends_within_a_tenth_of_the_budget(monkeypatch, minutes, step, images, validated):
    from imgtrain.training import time_budget

    monkeypatch.setattr(time_budget, "capture_arrays", lambda model, best: {})
    monkeypatch.setattr(time_budget, "restore_arrays", lambda model, arrays: None)
    clock = Clock()
    train = FakeBatches(clock, images, start=0.01)
    validation = FakeBatches(clock, validated, start=0.01) if validated else None
    steps = FakeSteps(clock, step=step, validation_per_image=step / BATCH / 3)
    config = parse_config({"data": {"train": "."}, "training": {"minutes": minutes}})
    begun, facts = clock.now, {}
    config = time_budget.plan_for_minutes(config, None, steps, train, validation, facts, clock=clock)

    # What `fit` does.
    for epoch in range(config.training.epochs):
        clock.now += 0.01  # callbacks and files
        remaining = config.training.steps_per_epoch or train.steps_per_pass
        while remaining:
            for batch in train.read_ahead(epoch):
                steps.train(batch)
                remaining -= 1
                if not remaining:
                    break
        for batch in validation.read_ahead(0) if validation else ():
            steps.validate(batch)
    assert clock.now - begun == pytest.approx(60 * minutes, rel=0.1)
    assert config.training.minutes is None
    assert facts["planned"]["epochs"] == config.training.epochs
