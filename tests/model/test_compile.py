"""Each loss and metric of each class mode, in Keras: what is allowed trains, and what is refused would mislead."""

import warnings
from functools import cache

import numpy as np
import pytest

from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.head import check_output, snake_case
from imgtrain.config.load import parse_config

pytestmark = pytest.mark.tensorflow

# More than five classes, so that `top_k_categorical_accuracy` can be below 1.
CLASSES = {"binary": 2, "categorical": 7, "sparse": 7}
IMAGES = 28
CATALOGUE = {"loss": load_catalogue().losses, "metrics": load_catalogue().metrics}

# What Keras computes, but nobody means with these labels: yes-or-no questions about each class of a softmax, and a
# divergence that looks at one of two classes only. `test_why_...` below shows each.
LIKELY_MISTAKES = {
    ("loss", "categorical", "binary_crossentropy"),
    ("loss", "categorical", "binary_focal_crossentropy"),
    ("metrics", "categorical", "binary_crossentropy"),
    ("metrics", "categorical", "binary_accuracy"),
    ("metrics", "binary", "kl_divergence"),
}


def configure(mode, **training):
    return parse_config(
        {
            "data": {"train": ".", "target_size": [2, 2], "class_mode": mode},
            "model": {"layers": ["Flatten"]},
            "training": training,
        }
    )


def is_allowed(kind, mode, name):
    return not check_output(configure(mode, **{kind: name if kind == "loss" else [name]}), None)


def pairs(kind, *, allowed):
    """Return (mode, name) of all that is allowed, or refused; of several names of the same thing, the first."""
    found = {
        (mode, snake_case(name)): (mode, name)
        for mode in CLASSES
        for name in sorted(CATALOGUE[kind], reverse=True)
        if is_allowed(kind, mode, name) == allowed
    }
    return sorted(found.values())


@cache
def build(mode):
    from imgtrain.model.build import build_network

    return build_network(configure(mode), class_count=CLASSES[mode], statistics=None)


def compiled(mode, **training):
    """Return a network that computes step by step, which for one step is faster than compiling its graph."""
    from imgtrain.model.compile import compile_network

    model = build(mode)
    compile_network(model, configure(mode, **training))
    model.run_eagerly = True
    return model


def labels_of(mode, *, shift=0):
    """Return the labels of a batch as training gets them, one image of each class after the other."""
    labels = (np.arange(IMAGES, dtype=np.int32) + shift) % CLASSES[mode]
    match mode:
        case "binary":
            return labels[:, None].astype(np.float32)
        case "categorical":
            return np.eye(CLASSES[mode], dtype=np.float32)[labels]
    return labels


def answers(mode, *, sure, second=None):
    """Return probabilities: `sure` for the true class, `second` for the next one, the others share the rest."""
    classes = CLASSES[mode]
    true = np.arange(IMAGES) % classes
    if mode == "binary":
        return np.where(true == 1, sure, 1 - sure)[:, None].astype(np.float32)
    second = (1 - sure) / (classes - 1) if second is None else second
    probabilities = np.full((IMAGES, classes), (1 - sure - second) / (classes - 2), np.float32)
    probabilities[np.arange(IMAGES), true] = sure
    probabilities[np.arange(IMAGES), (true + 1) % classes] = second
    return probabilities


@pytest.mark.parametrize(("mode", "loss"), pairs("loss", allowed=True))
def test_an_allowed_loss_trains_a_step_with_every_allowed_metric(mode, loss):
    pixels = np.random.default_rng(0).uniform(0, 255, (IMAGES, 2, 2, 3)).astype(np.float32)
    metrics = [name for allowed_mode, name in pairs("metrics", allowed=True) if allowed_mode == mode]
    model = compiled(mode, loss=loss, metrics=metrics)
    before = [weight.copy() for weight in model.get_weights()]
    logs = model.train_on_batch(pixels, labels_of(mode), return_dict=True)
    assert set(logs) == {"loss", *(load_catalogue().metric_log_name(name) for name in metrics)}
    assert all(np.isfinite(value) for value in logs.values()), logs
    after = model.get_weights()
    assert all(np.isfinite(weight).all() for weight in after)
    assert any((weight != old).any() for weight, old in zip(after, before, strict=True))


@pytest.mark.parametrize("mode", CLASSES)
def test_every_name_of_a_loss_and_of_a_metric_is_compiled(mode):
    names = {
        kind: [name for name in table if is_allowed(kind, mode, name)] for kind, table in CATALOGUE.items()
    }
    for loss in names["loss"]:
        assert snake_case(type(compiled(mode, loss=loss).loss).__name__) == snake_case(loss)
    compiled(mode, metrics=names["metrics"])


def loss_flaws(mode, name):
    """Yield what is wrong with a loss for the labels and the output of a class mode."""
    loss = compiled(mode, loss=name).loss
    loss.reduction = None

    def cost(probabilities, shift=0):
        return np.asarray(loss(labels_of(mode, shift=shift), probabilities))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            perfect, right, unsure, wrong = (cost(answers(mode, sure=sure)) for sure in (1.0, 0.9, 0.5, 0.01))
    except Exception as error:  # Keras and its backend raise many types
        yield f"raises {type(error).__name__}"
        return
    if perfect.shape != (IMAGES,):
        yield "gives no value for each image"
        return
    if not np.isfinite(wrong).all() or wrong.max() > 1e6:
        yield "divides by the zeros among the labels"
    if not ((right < unsure) & (unsure < wrong)).all():
        yield "does not cost more where the answer is worse"
    # Of 100 images that look the same, 55 are of one class, 45 of the next: which answer costs least?
    shares = np.linspace(0, 1, 101)
    mixed = [answers(mode, sure=share, second=1 - share) for share in shares]
    costs = [0.55 * cost(given) + 0.45 * cost(given, shift=1) for given in mixed]
    if (shares[np.argmin(costs, axis=0)] < 0.5).any():
        yield "prefers the rarer class"
    # The cosine of equal directions is 1, and Keras turns its sign.
    if not np.allclose(perfect, -1 if snake_case(name) == "cosine_similarity" else 0, atol=1e-5):
        yield "charges for a perfect answer"


@pytest.mark.parametrize(("mode", "name"), pairs("loss", allowed=True))
def test_an_allowed_loss_has_no_flaw(mode, name):
    assert not list(loss_flaws(mode, name))


@pytest.mark.parametrize(("mode", "name"), pairs("loss", allowed=False))
def test_a_refused_loss_has_a_flaw(mode, name):
    if ("loss", mode, snake_case(name)) not in LIKELY_MISTAKES:
        assert list(loss_flaws(mode, name))


def metric_flaws(mode, name):
    """Yield what is wrong with a metric for the labels and the output of a class mode."""
    from imgtrain.model.compile import _build_metric

    def value(sure, second=None):
        metric = _build_metric(name, mode)
        metric.update_state(labels_of(mode), answers(mode, sure=sure, second=second))
        return float(metric.result())

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            perfect, right, wrong = map(value, (1.0, 0.9, 0.01))
    except Exception as error:  # Keras and its backend raise many types
        yield f"raises {type(error).__name__}"
        return
    if not np.isfinite([perfect, right, wrong]).all() or max(right, wrong) > 1e6:
        yield "divides by the zeros among the labels"
    if snake_case(name) in ("true_positives", "true_negatives", "false_positives", "false_negatives"):
        if abs(right - value(0.01, 0.99)) < IMAGES / 2:
            yield "counts the same for right and wrong answers"
        return
    falls = perfect < wrong
    if not (perfect <= right < wrong if falls else perfect >= right > wrong):
        yield "is not better where the answers are"
    if not np.isclose(perfect, 0 if falls else 1, atol=1e-5):
        yield "is not perfect for perfect answers"


@pytest.mark.parametrize(("mode", "name"), pairs("metrics", allowed=True))
def test_an_allowed_metric_has_no_flaw(mode, name):
    assert not list(metric_flaws(mode, name))


@pytest.mark.parametrize(("mode", "name"), pairs("metrics", allowed=False))
def test_a_refused_metric_has_a_flaw(mode, name):
    if ("metrics", mode, snake_case(name)) not in LIKELY_MISTAKES:
        assert list(metric_flaws(mode, name))


def test_why_what_keras_computes_is_refused_as_a_likely_mistake():
    from imgtrain.model.runtime import keras

    labels, given = np.eye(2, dtype=np.float32)[[0, 1, 1]], np.float32([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    # For two classes it is the crossentropy that is meant; for more it is divided by their number.
    np.testing.assert_allclose(
        keras.losses.binary_crossentropy(labels, given),
        keras.losses.categorical_crossentropy(labels, given),
        rtol=1e-5,
    )
    # All answers are wrong, and five of seven "columns" right.
    wrong = answers("categorical", sure=0, second=1)
    accuracy = np.mean(keras.metrics.binary_accuracy(labels_of("categorical"), wrong))
    assert accuracy == pytest.approx(5 / 7)
    # Images of the first class count for nothing.
    false_alarms = keras.losses.kl_divergence(np.zeros((3, 1), np.float32), np.ones((3, 1), np.float32))
    assert np.abs(false_alarms).max() < 1e-5


def test_every_name_in_the_tables_is_one_that_a_configuration_may_have():
    from imgtrain.config import head

    known = {kind: {snake_case(name) for name in names} for kind, names in CATALOGUE.items()}
    for mode in CLASSES:
        assert set(head._LOSSES[mode]) <= known["loss"]
        assert set(head._METRICS[mode]) <= known["metrics"]
