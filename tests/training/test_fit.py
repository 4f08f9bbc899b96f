"""What the loop does around Keras's step."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_an_asked_for_average_of_the_weights_is_what_training_leaves(tmp_path, make_folders):
    """Keras's `fit` puts it in place at the end; so does this loop."""
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.training.fit import fit
    from imgtrain.workflows.library import build_model, open_batches

    make_folders(tmp_path, {"train": {"a": 6, "b": 6}}, side=8)
    optimizer = {"name": "sgd", "learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.9}
    config = parse_config(
        {
            "data": {"train": str(tmp_path / "train"), "target_size": [8, 8], "cache": "memory"},
            "model": {"layers": ["Flatten"]},
            "training": {"epochs": 3, "optimizer": optimizer, "early_stopping": None},
        }
    )
    data = open_batches(make_plan(config))
    model = build_model(data)
    fit(model, data.train.batches, None, config.training)
    averages = model.optimizer._model_variables_moving_average
    for weight, average in zip(model.trainable_weights, averages, strict=True):
        np.testing.assert_array_equal(weight, average)


def test_a_run_trains_with_the_faster_layers_and_updates_and_saves_keras_own(
    tmp_path, make_folders, monkeypatch
):
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.model import training_layers
    from imgtrain.workflows import train as workflow

    make_folders(tmp_path, {"train": {"a": 12, "b": 12}, "validation": {"a": 4, "b": 4}}, side=16)
    config = parse_config(
        {
            "data": {
                **{name: str(tmp_path / name) for name in ("train", "validation")},
                "target_size": [16, 16],
                "cache": "memory",
                "on_leak": "warn",
            },
            "model": {
                "layers": [
                    {"Conv2D": {"filters": 2, "kernel_size": 3, "activation": "relu"}},
                    {"MaxPool2D": 2},
                    {"Dropout": 0.1},
                    "Flatten",
                ]
            },
            "training": {"epochs": 1},
            "output": {"directory": str(tmp_path / "run")},
        }
    )
    trained = []

    def fit(model, *arguments, **options):
        trained.append(model)
        return real_fit(model, *arguments, **options)

    real_fit = workflow.fit
    monkeypatch.setattr(workflow, "fit", fit)
    saved = workflow.train(make_plan(config)).model
    (model,) = trained
    faster = [type(layer) for layer in model.layers[1:4]]
    assert faster == [training_layers.Conv2D, training_layers.MaxPooling2D, training_layers.Dropout]
    assert type(model.optimizer).__module__ == "imgtrain.model.fused_optimizers"
    assert {type(layer).__module__.partition(".")[0] for layer in saved.layers} == {"keras"}
