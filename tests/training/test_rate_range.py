"""Learning rates suggested from curves whose valley is known."""

from __future__ import annotations

import numpy as np
import pytest

from imgtrain.training.rate_range import RateRange, candidate_rates, has_diverged


def curve(*, falls_at: float, rises_at: float, noise: float = 0.0) -> RateRange:
    """A loss of 2 that falls to 1 around one learning rate, and rises steeply from another one."""
    rates = candidate_rates(150)
    logs = np.log10(rates)
    losses = (
        2 - 1 / (1 + np.exp(-6 * (logs - np.log10(falls_at)))) + np.clip(logs - np.log10(rises_at), 0, 9) ** 2
    )
    losses += noise * np.random.default_rng(0).normal(size=len(rates))
    return RateRange(rates, losses)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("shift", [0.3, 1, 10])
def test_the_suggestion_is_below_the_rise_and_moves_with_it(noise, shift):
    tested = curve(falls_at=1e-4 * shift, rises_at=1e-2 * shift, noise=noise)
    suggestion = tested.suggest(scheduled=True)
    assert 0.2e-2 * shift < suggestion < 2e-2 * shift
    assert tested.suggest(scheduled=False) == pytest.approx(0.3 * suggestion, rel=0.05)


def test_without_a_rise_it_is_a_third_of_the_last_rate():
    assert curve(falls_at=1e-2, rises_at=1e9).suggest(scheduled=True) == pytest.approx(10 / 3, rel=0.05)


@pytest.mark.parametrize("losses", [np.ones(150), np.linspace(1, 2, 150), np.empty(0)])
def test_a_loss_that_does_not_decrease_suggests_nothing(losses):
    assert RateRange(candidate_rates(150)[: len(losses)], losses).suggest(scheduled=True) is None


def test_smoothing_keeps_straight_lines_and_removes_noise():
    rates = candidate_rates(150)
    line = np.linspace(3, 1, 150)
    assert RateRange(rates, line).smoothed[20:130] == pytest.approx(line[20:130])
    noisy = line + 0.2 * np.random.default_rng(0).normal(size=150)
    assert np.abs(RateRange(rates, noisy).smoothed - line).mean() < 0.08


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([2.0, 1.9, 1.8], False),
        ([2.0, np.nan], True),
        ([2.0, np.inf], True),
        ([2.0] * 10 + [1.0] * 10 + [1.2] * 10, False),
        ([2.0] * 10 + [1.0] * 10 + [4.0], False),  # a single batch
        ([2.0] * 10 + [1.0] * 10 + [4.0] * 5, True),
        ([2.0] * 10 + [3.5] * 5, True),  # it never decreased
    ],
)
def test_divergence(losses, diverged):
    assert has_diverged(np.array(losses)) is diverged
