"""Learning rate schedules: held to Keras's own, and to what a schedule must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgtrain.config.load import parse_config
from imgtrain.config.schema import SCHEDULE_OPTIONS, ScheduleConfig
from imgtrain.errors import ConfigError
from imgtrain.training.learning_rates import learning_rates, sample_rates, warmup_steps


def rates_of(schedule, *, highest=0.01, steps_per_epoch=10, epochs=9):
    return learning_rates(
        ScheduleConfig.model_validate(schedule),
        highest=highest,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
    )


@example(name="one_cycle", steps_per_epoch=1, epochs=2, warmup=None)
@given(
    name=st.sampled_from(sorted(SCHEDULE_OPTIONS)),
    steps_per_epoch=st.integers(1, 40),
    epochs=st.integers(1, 30),
    warmup=st.none() | st.integers(0, 60),
)
def test_every_schedule_has_a_positive_rate_for_every_batch_and_peaks_at_the_highest(
    name, steps_per_epoch, epochs, warmup
):
    schedule = {"name": name, "warmup_steps": warmup}
    rates = rates_of(schedule, highest=0.5, steps_per_epoch=steps_per_epoch, epochs=epochs)
    assert rates.shape == (steps_per_epoch * epochs,)
    assert (rates > 0).all()
    assert rates.max() <= 0.5 + 1e-12
    rise = warmup_steps(
        ScheduleConfig.model_validate(schedule), steps_per_epoch=steps_per_epoch, epochs=epochs
    )
    assert (np.diff(rates[:rise]) > 0).all()
    assert (np.diff(rates[max(rise, 1) - 1 :]) <= 1e-12).all()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("schedule", "keras_name", "arguments"),
    [
        ({"name": "cosine", "final": 0.1}, "CosineDecay", {"decay_steps": 80, "alpha": 0.1}),
        ("linear", "PolynomialDecay", {"decay_steps": 80, "end_learning_rate": 0.0, "power": 1.0}),
        (
            {"name": "exponential", "factor": 0.8},
            "ExponentialDecay",
            {"decay_steps": 10, "decay_rate": 0.8},
        ),
    ],
)
def test_after_the_warm_up_a_schedule_is_that_of_keras(schedule, keras_name, arguments):
    import keras

    ours = rates_of(schedule)
    theirs = getattr(keras.optimizers.schedules, keras_name)(0.01, **arguments)
    np.testing.assert_allclose(ours[:10], 0.01 * np.arange(1, 11) / 10)
    np.testing.assert_allclose(ours[10:], [float(theirs(step)) for step in range(80)], rtol=1e-5)


def test_steps_drop_after_the_given_epochs():
    rates = rates_of({"name": "step", "at_epochs": [6, 3], "factor": 0.5, "warmup_epochs": 0}, highest=1.0)
    np.testing.assert_allclose(rates[::10], [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    every = rates_of({"name": "step", "every_epochs": 4, "warmup_epochs": 0}, highest=1.0)
    np.testing.assert_allclose(every[::10], [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_one_cycle_has_the_first_highest_and_last_rates_of_the_paper():
    rates = rates_of("one_cycle", highest=1.0)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[27 - 1] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"name": "cosin"}, "did you mean 'cosine'?"),
        ({"name": "cosine", "factor": 0.5}, "cosine has no option 'factor'"),
        ({"name": "cosine", "warmup_epochs": 1, "warmup_steps": 5}, "mutually exclusive"),
        ({"name": "step", "factor": 2}, "training.schedule.factor"),
        ({"name": "CosineDecay", "initial_learning_rate": 0.1}, "CosineDecay requires decay_steps"),
        (7, "must be the name of a schedule"),
    ],
)
def test_a_wrong_schedule_is_an_error_that_names_what_is_allowed(written, expected):
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": {"train": "."}, "training": {"schedule": written}})
    assert expected in str(caught.value)
    assert "training.schedule" in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "cosine",
        {"name": "step", "at_epochs": [3, 5], "factor": 0.3},
        {"name": "PiecewiseConstantDecay", "boundaries": [10], "values": [0.1, 0.01]},
    ],
)
def test_a_schedule_is_written_as_it_was_read(written):
    from imgtrain.config.render import render_config, to_plain

    config = parse_config({"data": {"train": "."}, "training": {"schedule": written}})
    assert to_plain(config)["training"]["schedule"] == written
    import yaml

    again = parse_config(yaml.safe_load(render_config(config)))
    assert again.training.schedule == config.training.schedule


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 1), (10, 9), (64, 1000)])
def test_sampled_rates_have_the_first_the_highest_and_the_last(steps_per_epoch, epochs):
    rates = rates_of("one_cycle", steps_per_epoch=steps_per_epoch, epochs=epochs)
    sampled = sample_rates(rates, steps_per_epoch=steps_per_epoch)
    assert len(sampled) <= 300
    assert len(sampled) == min(300, len(rates)) or len(rates) > 299
    places, values = zip(*sampled, strict=True)
    assert list(places) == sorted(set(places))
    assert (places[0], places[-1]) == (pytest.approx(1 / steps_per_epoch, abs=1e-4), epochs)
    assert (values[0], max(values), values[-1]) == pytest.approx((rates[0], rates.max(), rates[-1]), rel=1e-4)
