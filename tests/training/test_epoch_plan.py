"""Epochs planned into a time budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtrain.training.epoch_plan import EpochPlan, plan_epochs


@given(
    minutes=st.floats(0.5, 600),
    seconds_per_step=st.floats(0.002, 0.5),
    steps_per_pass=st.integers(1, 100_000),
    validation_share=st.floats(0, 0.3),
)
def test_the_plan_fills_the_budget(minutes, seconds_per_step, steps_per_pass, validation_share):
    """Within 10 %, whatever the sizes, as long as a validation pass is short beside the budget."""
    seconds = 60 * minutes
    validation = min(validation_share * steps_per_pass * seconds_per_step, seconds / 50)
    plan = plan_epochs(
        seconds,
        seconds_per_step=seconds_per_step,
        seconds_per_validation=validation,
        steps_per_pass=steps_per_pass,
    )
    steps = plan.steps_per_epoch or steps_per_pass
    spent = plan.epochs * (steps * seconds_per_step + validation)
    assert plan.seconds == pytest.approx(spent)
    assert 0.9 * seconds - plan.epochs * seconds_per_step <= spent <= 1.1 * seconds
    assert plan.epochs * validation <= 0.3 * seconds + 1e-6


def test_a_pass_is_an_epoch_where_it_divides_the_budget():
    plan = plan_epochs(180, seconds_per_step=0.05, seconds_per_validation=1.0, steps_per_pass=60)
    assert plan == EpochPlan(epochs=45, steps_per_epoch=None, seconds=45 * 4.0)
    assert plan_epochs(
        180, seconds_per_step=0.05, seconds_per_validation=1.0, steps_per_pass=60, most_epochs=20
    ) == EpochPlan(epochs=20, steps_per_epoch=None, seconds=20 * 4.0)


def test_a_long_pass_is_cut_into_epochs_and_short_ones_are_joined():
    long = plan_epochs(100, seconds_per_step=0.1, seconds_per_validation=0, steps_per_pass=10_000)
    assert (long.epochs, long.steps_per_epoch) == (5, 200)
    short = plan_epochs(100, seconds_per_step=0.01, seconds_per_validation=1.0, steps_per_pass=2)
    assert short.epochs == 30
    assert short.steps_per_epoch == 233
    limited = plan_epochs(
        100, seconds_per_step=0.01, seconds_per_validation=1.0, steps_per_pass=2, most_epochs=100
    )
    # Three passes to an epoch: four would not leave thirty of them.
    assert (limited.epochs, limited.steps_per_epoch) == (30, 6)
