from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgtrain.config.load import load_config, parse_config
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.check_network import check_network
from imgtrain.model.compile import build_optimizer, compile_network
from imgtrain.model.measure import measure_network
from imgtrain.model.runtime import keras

pytestmark = pytest.mark.tensorflow

CONV: dict[str, Any] = {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}}


def make_config(layers: list[Any], *, mode: str = "categorical", side: int = 16, **sections: Any) -> Config:
    return parse_config(
        {
            "data": {"train": "x", "class_mode": mode, "target_size": [side, side]},
            "model": {"layers": layers},
            **sections,
        }
    )


def build(config: Config, **options: Any) -> keras.Sequential:
    return build_network(config, class_count=options.pop("class_count", 3), statistics=None, **options)


def make_batch(mode: str = "categorical", side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2 if mode == "binary" else 3, 8)
    forms = {"binary": labels[:, None].astype("float32"), "categorical": np.eye(3)[labels], "sparse": labels}
    return rng.integers(0, 256, (8, side, side, 3), dtype=np.uint8), forms[mode]


def test_the_network_is_preprocessing_layers_and_output() -> None:
    model = build(make_config([CONV, {"MaxPool2D": 2}, CONV, "Flatten", {"Dense": 8}]))
    assert [layer.name for layer in model.layers] == [
        "rescale",
        "conv2d_1",
        "max_pooling2d_1",
        "conv2d_2",
        "flatten_1",
        "dense_1",
        "output",
    ]
    assert model.input_shape == (None, 16, 16, 3)
    assert model.output_shape == (None, 3)
    images, _ = make_batch()
    np.testing.assert_allclose(np.asarray(model(images)).sum(axis=1), 1, rtol=1e-5)


def test_a_written_output_is_not_added_again() -> None:
    layers = ["Flatten", {"Dense": {"units": 1, "activation": "sigmoid"}}]
    model = build(make_config(layers, mode="binary"), class_count=2)
    assert [layer.name for layer in model.layers] == ["rescale", "flatten_1", "output"]


def test_weights_depend_on_the_seed_alone() -> None:
    layers = [CONV, "Flatten", {"Dropout": 0.5}]
    first = build(make_config(layers))
    keras.layers.Dense(3).build((None, 4))
    same = build(make_config(layers))
    other = build(make_config(layers, training={"seed": 1}))
    for one, two in zip(first.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    states = [model.get_layer("dropout_1").seed_generator.get_config()["seed"] for model in (first, same)]
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("layers", "position", "said"),
    [
        ([{"MaxPooling2D": 2}] * 5, 4, "layer 5, MaxPooling2D: input is 1×1, the pool needs 2×2"),
        ([CONV] * 8, 7, "layer 8, Conv2D: input is 2×2, the kernel needs 3×3"),
        (
            [{"Conv2D": {"filters": 1, "kernel_size": 5, "dilation_rate": 4}}],
            0,
            "input is 16×16, the kernel needs 17×17",
        ),
        (["Flatten", CONV], 1, "needs an image (height×width×channels), its input is 768 values"),
        (["GlobalAveragePooling2D", {"MaxPooling2D": 2}], 1, "needs an image"),
        ([{"Conv2D": {"filters": -1, "kernel_size": 3}}], 0, "filters=-1"),
        ([{"Conv2D": {"filters": 4, "kernel_size": [3, 3, 3]}}], 0, "must be a tuple of 2 integers"),
        ([{"Dropout": 2}], 0, "rate=2"),
        (["Flatten", {"Dense": "many"}], 1, "units=many"),
        ([{"Reshape": [3, 3]}], 0, "total size of the tensor must be unchanged"),
        (["Flatten", {"Dense": {"units": 10**9}}], 1, "training takes 4 times the weights"),
        ([{"UpSampling2D": 20000}], 0, "for one batch"),
        (["Flatten", {"Dense": {"units": 3, "name": "rescale"}}], 1, "duplicate layer name 'rescale'"),
    ],
)
def test_a_faulty_layer_is_named_with_its_place(layers: list[Any], position: int, said: str) -> None:
    (problem,) = check_network(make_config(layers), class_count=3)
    assert problem.where == f"model.layers[{position}]"
    assert problem.what.startswith(f"layer {position + 1}, ")
    assert said in problem.what
    assert "shapes so far: input 16×16×3" in problem.hint
    assert "\n" not in problem.what
    with pytest.raises(ConfigError, match=f"layer {position + 1}, "):
        build(make_config(layers))


def test_the_line_of_the_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cats.yaml"
    path.write_text(
        "data:\n  train: x\n  target_size: [4, 4]\nmodel:\n  layers:\n    - MaxPooling2D: 2\n"
        "    - MaxPooling2D: 2\n    - MaxPooling2D: 2\n    - Flatten\n",
        encoding="utf-8",
    )
    (problem,) = check_network(load_config(path), class_count=3)
    assert problem.where == f"{path}:8: model.layers[2]"


@pytest.mark.parametrize(
    ("layers", "before"),
    [
        ([CONV], 2),
        ([CONV, {"Dense": 8}, {"Dense": 8}], 2),
        ([{"Dense": 8}, CONV], 3),
        ([CONV, {"Dense": {"units": 3, "activation": "softmax"}}], 2),
    ],
)
def test_an_image_into_the_output_asks_for_flatten(layers: list[Any], before: int) -> None:
    (problem,) = check_network(make_config(layers), class_count=3)
    assert "one row of values per image" in problem.what
    assert f"add Flatten or GlobalAveragePooling2D before layer {before}; " in problem.hint


def test_an_absurd_network_is_refused_without_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(["Flatten", {"Dense": 3000}, {"Dense": 3000}])
    # 768·3000 and 3000·3000 weights, 4 bytes each, four times: 37 MB, then 181 MB.
    monkeypatch.setattr("imgtrain.model.layer_stack.memory_bytes", lambda: 100_000_000)
    with pytest.raises(ConfigError, match=r"layer 3, Dense: its weights of 3000×3000 take 34\.3 MiB"):
        build(config)
    # Nothing of it is left for a later network to allocate.
    from keras.src.backend.common import global_state

    assert not global_state.get_global_attribute("uninitialized_variables")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_holds_between_preprocessing_and_output(precision: str) -> None:
    config = make_config([CONV, "BatchNormalization", "Flatten", {"Dense": 8}])
    model = build(config, precision=precision)
    compute = {layer.name: layer.compute_dtype for layer in model.layers}
    assert compute["rescale"] == compute["output"] == "float32"
    assert compute["conv2d_1"] == compute["dense_1"] == precision
    assert {weight.dtype for weight in model.weights} == {"float32"}
    compile_network(model, config, precision=precision)
    images, labels = make_batch()
    assert np.isfinite(model.train_on_batch(images, labels)).all()

    copy = float32_copy(model, config)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    for one, two in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert type(copy.optimizer) is keras.optimizers.Adam
    np.testing.assert_allclose(np.asarray(copy(images)), np.asarray(model(images)), atol=0.02)


@pytest.mark.parametrize("mode", ["binary", "categorical", "sparse"])
def test_accuracy_is_that_of_the_class_mode(mode: str) -> None:
    config = make_config(["Flatten"], mode=mode, training={"metrics": ["accuracy", "acc"]})
    model = build(config, class_count=2 if mode == "binary" else 3)
    compile_network(model, config)
    images, labels = make_batch(mode)
    logs = model.evaluate(images, labels, verbose=0, return_dict=True)
    probabilities = np.asarray(model(images))
    predicted = probabilities[:, 0] >= 0.5 if mode == "binary" else probabilities.argmax(axis=1)
    true = labels.argmax(axis=1) if mode == "categorical" else labels.reshape(-1)
    assert logs["accuracy"] == logs["acc"] == pytest.approx((predicted == true).mean())


@pytest.mark.parametrize(
    ("optimizer", "place", "said"),
    [
        ({"name": "adam", "beta_1": 1.5}, "beta_1", "in [0, 1)"),
        ({"name": "sgd", "momentum": -0.1}, "momentum", "in [0, 1)"),
        ({"name": "rmsprop", "epsilon": 0}, "epsilon", "> 0"),
        ({"name": "adam", "weight_decay": "a lot"}, "weight_decay", "a number"),
    ],
)
def test_an_optimizers_argument_is_judged(optimizer: dict[str, Any], place: str, said: str) -> None:
    config = make_config(["Flatten"], training={"optimizer": optimizer})
    (problem,) = check_network(config, class_count=3)
    assert problem.where == f"training.optimizer.{place}"
    assert said in problem.what


def test_an_optimizer_gets_its_arguments() -> None:
    spec = {"name": "rmsprop", "learning_rate": 0.01, "momentum": 0.5, "clipnorm": 1.0}
    optimizer = build_optimizer(make_config(["Flatten"], training={"optimizer": spec}))
    assert isinstance(optimizer, keras.optimizers.RMSprop)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)
    assert (optimizer.momentum, optimizer.clipnorm) == (0.5, 1.0)


def test_keras_own_words_about_an_optimizer_are_kept() -> None:
    spec = {"name": "adam", "clipnorm": 1.0, "clipvalue": 1.0}
    with pytest.raises(ConfigError, match=r"training\.optimizer: Adam: Only one of"):
        build_optimizer(make_config(["Flatten"], training={"optimizer": spec}))


def test_the_table_of_layers_and_the_sizes() -> None:
    config = make_config([CONV, "Flatten"], training={"optimizer": "sgd"})
    built = measure_network(build(config), config)
    assert built.rows == (
        ("rescale (Rescaling)", "16×16×3", 0, 0),
        ("conv2d_1 (Conv2D)", "14×14×4", 112, 112),
        ("flatten_1 (Flatten)", "784", 0, 0),
        ("output (Dense)", "3", 2355, 2355),
    )
    assert built.parameters == built.trainable_parameters == 2467
    assert built.weight_bytes == 4 * 2467
    # A gradient for each weight and no optimizer values; every output for 32 images, forward and backward.
    assert built.training_bytes == 2 * 4 * 2467 + 2 * 32 * 4 * (768 + 784 + 784 + 3)
