"""Pretrained networks: their weights, pixels, frozen layers and files."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any
from urllib.error import URLError

import h5py
import numpy as np
import pytest

from imgtrain.config.backbone import check_backbone, with_backbone_pixels
from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.load import parse_config
from imgtrain.config.schema import Config
from imgtrain.evaluation.gradcam import grad_cam
from imgtrain.model.backbone import leaf_layers
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.check_network import check_network
from imgtrain.model.compile import compile_network
from imgtrain.model.measure import measure_network
from imgtrain.model.preprocess import application_layers
from imgtrain.model.runtime import keras, tf

pytestmark = pytest.mark.tensorflow


def make_config(backbone: dict[str, Any], *, side: int = 32, mode: str = "rgb", **sections: Any) -> Config:
    data = {"train": "x", "target_size": [side, side], "color_mode": mode}
    config = parse_config({"data": data, "model": {"backbone": backbone}, **sections})
    return with_backbone_pixels(config)


def build(config: Config, **options: Any) -> Any:
    return build_network(config, class_count=3, statistics=None, **options)


def train(model: Any, config: Config, precision: str) -> set[str]:
    """Train two steps and return the paths of the weights that changed."""
    compile_network(model, config, precision=precision, for_training=True)
    before = model.get_weights()
    images = np.random.default_rng(0).integers(0, 256, (6, *model.input_shape[1:]), np.uint8)
    model.fit(images, np.eye(3)[[0, 1, 2] * 2], epochs=2, verbose=0)
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    return {weight.path for weight, old, new in pairs if not np.array_equal(old, new)}


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of MobileNetV2 with moving statistics other than the initial ones."""
    keras.utils.set_random_seed(3)
    network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(path)
    network.save(path.parent / "mobilenet.keras")
    return path


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 16×16 images with two classes."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Conv2D(6, 3, name="second"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("name", ["DenseNet121", "EfficientNetB0", "MobileNetV2", "VGG16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_are_those_of_preprocess_input(name: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, channels)).astype(np.float32)
    module = importlib.import_module(getattr(keras.applications, name).__module__)
    expected = module.preprocess_input(np.broadcast_to(pixels, (2, 5, 4, 3)).copy())
    found = pixels
    for layer in application_layers(load_catalogue().application(name).pixels, channels=channels):
        found = layer(found)
    np.testing.assert_allclose(np.broadcast_to(found, (2, 5, 4, 3)), expected, atol=2e-5)


def test_the_saved_model_computes_what_keras_computes(mobilenet: Path, tmp_path: Path) -> None:
    # Other images than those of the weights, and grayscale.
    config = make_config({"name": "MobileNetV2", "weights": str(mobilenet)}, side=64, mode="grayscale")
    assert check_backbone(config) == []
    assert check_network(config, class_count=3, precision="bfloat16") == []
    model = build(config, precision="bfloat16", for_training=True)
    assert train(model, config, "bfloat16") == {"output/kernel", "output/bias"}
    rows = {name: (count, trained) for name, _, count, trained in measure_network(model, config).rows}
    assert rows["mobilenetv2_1.00_64 (Functional)"] == (2_257_984, 0)
    assert rows["output (Dense)"] == (3843, 3843)

    copy = float32_copy(model, config)
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 1), np.uint8)
    keras_network = keras.applications.MobileNetV2(
        weights=str(mobilenet), include_top=False, input_shape=(64, 64, 3)
    )
    pixels = keras.applications.mobilenet_v2.preprocess_input(np.repeat(images, 3, -1).astype(np.float32))
    features = keras_network(pixels, training=False).numpy().mean((1, 2))
    output = copy.get_layer("output")
    expected = tf.nn.softmax(features @ output.kernel + output.bias).numpy()
    for suffix in ("keras", "h5"):
        path = tmp_path / f"model.{suffix}"
        copy.save(path)
        loaded = keras.models.load_model(path, compile=False)
        np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-4)
    maps = grad_cam(copy, images, np.zeros(3, np.int32))
    assert maps is not None
    assert maps.shape == (3, 64, 64)


def test_only_the_layers_from_the_named_one_are_trained(own_model: Path) -> None:
    config = make_config({"from": str(own_model), "trainable": "norm"}, preprocessing={"rescale": 1})
    model = build(config, precision="bfloat16", for_training=True)
    network = next(layer for layer in model.layers if layer.name == "backbone")
    # In inference mode, the moving statistics stay; scale and offset are trained.
    changed = {path.removeprefix("backbone/") for path in train(model, config, "bfloat16")}
    assert changed == {
        "norm/gamma",
        "norm/beta",
        "second/kernel",
        "second/bias",
        "output/kernel",
        "output/bias",
    }
    assert type(next(layer for layer in leaf_layers(network) if layer.name == "norm")).__module__ == (
        "imgtrain.model.training_layers"
    )
    config = make_config({"from": str(own_model), "trainable": True}, preprocessing={"rescale": 1})
    changed = train(build(config, for_training=True), config, "float32")
    assert {"norm/moving_mean", "norm/moving_variance", "first/kernel"} <= changed


def test_the_classifier_of_an_own_model_is_cut_off(own_model: Path) -> None:
    config = make_config({"from": str(own_model), "pooling": "max"}, side=20, preprocessing={"rescale": 1})
    assert check_backbone(config) == []
    assert check_network(config, class_count=3) == []
    model = build(config)
    names = [layer.name for layer in model.layers]
    assert names == ["rescale", "backbone", "backbone_pooling", "dropout_1", "output"][1:]
    original = keras.models.load_model(own_model)
    images = np.random.default_rng(1).integers(0, 256, (2, 20, 20, 3)).astype(np.float32)
    expected = images
    for layer in original.layers[:5]:
        expected = layer(expected, training=False)
    np.testing.assert_allclose(model.get_layer("backbone")(images), expected, rtol=1e-5)


def test_pixels_of_an_unknown_model_must_be_given(own_model: Path) -> None:
    (problem,) = check_backbone(make_config({"from": str(own_model)}))
    assert problem.where == "preprocessing.rescale"
    assert "1/255 for pixels from 0 to 1, or 1 for raw pixels" in problem.hint


def test_a_saved_model_that_contains_the_network_brings_its_weights(mobilenet: Path) -> None:
    for weights in (mobilenet, mobilenet.parent / "mobilenet.keras"):
        model = build(make_config({"name": "MobileNetV2", "weights": str(weights)}))
        network = model.layers[1]
        with h5py.File(mobilenet) as file:
            np.testing.assert_array_equal(
                network.get_layer("bn_Conv1").gamma, file["layers/batch_normalization/vars/0"]
            )


@pytest.mark.parametrize(
    ("backbone", "where", "what", "hint"),
    [
        ({"trainable": "bn_Cnv1"}, "trainable", "has no layer 'bn_Cnv1'", "did you mean 'bn_Conv1'?"),
        (
            {"name": "MobileNet"},
            "weights",
            "are not those of MobileNet: there is no array of shape",
            "MobileNet",
        ),
        ({"weights": "with_top"}, "weights", "further weights, of shape 1280×1000", "include_top=False"),
        ({"weights": "linked"}, "weights", "is rejected: /layers/more is an external", ""),
        ({"weights": "own"}, "weights", "doesn't contain MobileNetV2", "use `from`"),
    ],
)
def test_weights_that_do_not_fit(
    mobilenet: Path,
    own_model: Path,
    tmp_path: Path,
    backbone: dict[str, Any],
    where: str,
    what: str,
    hint: str,
) -> None:
    weights = tmp_path / "changed.weights.h5"
    shutil.copy(mobilenet, weights)
    with h5py.File(weights, "r+") as file:
        if backbone.get("weights") == "with_top":
            file["layers/dense/vars/0"] = np.zeros((1280, 1000), np.float32)
        elif backbone.get("weights") == "linked":
            file["layers/more"] = h5py.ExternalLink("/etc/passwd", "/")
    place = own_model if backbone.get("weights") == "own" else weights
    config = make_config({"name": "MobileNetV2", **backbone, "weights": str(place)})
    (problem,) = check_network(config, class_count=3)
    assert problem.where == f"model.backbone.{where}"
    assert what in problem.what
    assert hint in problem.hint


def test_without_network_the_file_to_download_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    (problem,) = check_network(make_config({"name": "MobileNetV2"}), class_count=3)
    assert problem.where == "model.backbone.weights"
    assert problem.what == "the ImageNet weights cannot be downloaded: no route to host"
    assert "download https://storage.googleapis.com/" in problem.hint
    assert "no_top.h5 elsewhere, and set model.backbone.weights to the path of that file" in problem.hint


def test_a_network_that_h5_cannot_hold_is_found_before_training() -> None:
    config = make_config({"name": "MobileNetV3Small", "weights": None}, output={"model": "model.h5"})
    (problem,) = check_network(config, class_count=3)
    assert problem.where == "model.backbone"
    assert "set output.model to model.keras" in problem.hint
