"""What the loop does around Keras's step."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def test_a_run_trains_with_the_faster_layers_and_updates_and_saves_keras_own(
    tmp_path, make_folders, monkeypatch
):
    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.model import training_layers
    from imgtrain.workflows import train_and_evaluate as workflow
    from imgtrain.workflows.train import train

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
    saved = train(make_plan(config)).model
    (model,) = trained
    faster = [type(layer) for layer in model.layers[1:4]]
    expected = [training_layers.Conv2DWithoutReLU, training_layers.MaxPooling2D, training_layers.Dropout]
    assert faster == expected
    assert type(model.optimizer).__module__ == "imgtrain.model.fused_optimizers"
    assert {type(layer).__module__.partition(".")[0] for layer in saved.layers} == {"keras"}


@pytest.mark.parametrize("name", ["cosine", "CosineDecay"])
def test_every_batch_is_trained_at_the_learning_rate_of_the_schedule(tmp_path, make_folders, name):
    """With plain gradient descent on a constant gradient, the weights move by the sum of the rates."""
    import keras

    from imgtrain.config import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.training.fit import fit
    from imgtrain.training.schedule import scheduled_rates
    from imgtrain.workflows.library import build_model, open_batches

    make_folders(tmp_path, {"train": {"a": 6, "b": 6}}, side=8)
    schedule = {"name": name, "warmup_steps": 4}
    if name == "CosineDecay":
        schedule |= {"initial_learning_rate": 0.0, "warmup_target": 0.5, "decay_steps": 11}
    config = parse_config(
        {
            "data": {
                "train": str(tmp_path / "train"),
                "target_size": [8, 8],
                "batch_size": 4,
                "cache": "memory",
            },
            "model": {"layers": ["Flatten"]},
            "training": {
                "epochs": 5,
                "optimizer": {"name": "sgd", "learning_rate": 0.5},
                "schedule": schedule,
                "early_stopping": None,
            },
        }
    )
    data = open_batches(make_plan(config))
    model = build_model(data)
    seen = []

    class Constant(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            variable.assign_sub(keras.ops.ones_like(variable) * keras.ops.cast(learning_rate, variable.dtype))

    model.compile(optimizer=Constant(0.5), loss="categorical_crossentropy")
    before = model.get_weights()
    history = fit(model, data.train.batches, None, config.training, emit=seen.append)
    rates = scheduled_rates(config.training, Constant(0.5), steps_per_epoch=3)
    assert len(rates) == 15
    np.testing.assert_allclose(before[0] - model.get_weights()[0], rates.sum(), rtol=1e-4)
    np.testing.assert_allclose(
        [epoch.logs["learning_rate"] for epoch in history.epochs], rates[2::3], rtol=1e-5, atol=1e-8
    )


def test_accumulation_and_averages_reach_the_optimizer_and_contradictions_are_named(tmp_path):
    from imgtrain.config import parse_config
    from imgtrain.errors import ConfigError
    from imgtrain.model.compile import build_optimizer

    training = {"gradient_accumulation": 3, "ema": 0.99}
    optimizer = build_optimizer(parse_config({"data": {"train": "."}, "training": training}))
    assert (optimizer.gradient_accumulation_steps, optimizer.use_ema, optimizer.ema_momentum) == (
        3,
        True,
        0.99,
    )
    training["optimizer"] = {"name": "sgd", "use_ema": False, "gradient_accumulation_steps": 2}
    with pytest.raises(ConfigError) as caught:
        build_optimizer(parse_config({"data": {"train": "."}, "training": training}))
    assert len(caught.value.problems) == 2


def test_weight_decay_leaves_biases_alone(tmp_path):
    import keras

    from imgtrain.config import parse_config
    from imgtrain.model.compile import compile_network

    layers = [
        keras.Input((4,)),
        keras.layers.Dense(3),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(2),
    ]
    for fast in (False, True):
        model = keras.Sequential(layers)
        optimizer = {"name": "adamw", "weight_decay": 0.1}
        config = parse_config({"data": {"train": "."}, "training": {"optimizer": optimizer}})
        compile_network(model, config, for_training=fast)
        model.optimizer.build(model.trainable_variables)
        decayed = [v.path for v in model.trainable_variables if model.optimizer._use_weight_decay(v)]
        assert decayed == [v.path for v in model.trainable_variables if v.name == "kernel"]
