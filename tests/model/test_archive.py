from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from imgtrain.batches.featurewise import fit_featurewise_statistics
from imgtrain.config.catalogue import load_catalogue
from imgtrain.config.load import parse_config
from imgtrain.errors import RunFileError
from imgtrain.model import archive
from imgtrain.model.archive import load_model, save_model
from imgtrain.model.build import build_network, float32_copy
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import ModelMetadata, read_metadata

pytestmark = pytest.mark.tensorflow

SIDE = 12
RECORD = ModelMetadata(
    class_names=("a", "b", "c"),
    target_size=(SIDE, SIDE),
    color_mode="rgb",
    class_mode="categorical",
    resize="stretch",
    interpolation="bilinear",
    data_fingerprint="00",
    versions={"keras": keras.__version__},
    created="2026-01-01T00:00:00+00:00",
)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.eye(3, dtype="float32")[np.arange(16) % 3]

# What a user does who has Keras and the file, and no imgtrain.
PLAIN_KERAS = """
import sys
sys.modules["imgtrain"] = None
import keras
import numpy as np
import warnings
warnings.simplefilter("error")
folder = sys.argv[1]
images, labels = np.load(folder + "/images.npy"), np.load(folder + "/labels.npy")
for suffix in ("keras", "h5"):
    model = keras.models.load_model(f"{folder}/model.{suffix}", safe_mode=True)
    assert type(model.optimizer) is keras.optimizers.RMSprop
    np.save(f"{folder}/{suffix}-uint8.npy", model.predict(images, verbose=0))
    np.save(f"{folder}/{suffix}-float.npy", model.predict(images.astype("float64"), verbose=0))
    np.save(f"{folder}/{suffix}-evaluate.npy", model.evaluate(images, labels, verbose=0))
    model.fit(images, labels, verbose=0)
    assert int(model.optimizer.iterations) == 1
    model = keras.models.load_model(f"{folder}/model.{suffix}")
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    model.fit(images, labels, verbose=0)
"""


@pytest.fixture(scope="module")
def trained() -> keras.Sequential:
    """Return a network with every kind of preprocessing, after some steps in bfloat16."""
    config = parse_config(
        {
            "data": {"train": "x", "target_size": [SIDE, SIDE]},
            "preprocessing": {
                "samplewise_std_normalization": True,
                "featurewise_std_normalization": True,
            },
            "model": {
                "layers": [
                    {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}},
                    "BatchNormalization",
                    {"Dropout": 0.3},
                    "Flatten",
                    {"Dense": {"units": 8, "activation": "relu", "kernel_regularizer": {"L2": 0.001}}},
                ]
            },
            "training": {"optimizer": {"name": "rmsprop", "momentum": 0.5}, "metrics": ["accuracy", "AUC"]},
        }
    )
    statistics = fit_featurewise_statistics([IMAGES], config.preprocessing)
    model = build_network(config, class_count=3, statistics=statistics, precision="bfloat16")
    compile_network(model, config, precision="bfloat16")
    for _ in range(3):
        model.train_on_batch(IMAGES, LABELS)
    return float32_copy(model, config)


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a model as a script with ImageDataGenerator would."""

    def save(*layers: Any, name: str = "skin.h5", shape: tuple[int | None, ...] = (SIDE, SIDE, 3)) -> Path:
        model = keras.Sequential([keras.Input(shape), *layers])
        model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
        path = tmp_path / name
        model.save(path)
        return path

    return save


def test_both_formats_are_plain_keras_and_agree(trained: keras.Sequential, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "labels.npy", LABELS)
    for suffix in ("keras", "h5"):
        save_model(trained, RECORD, tmp_path / f"model.{suffix}")
        assert read_metadata(tmp_path / f"model.{suffix}") == RECORD
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN_KERAS, str(tmp_path)], check=True, cwd=tmp_path
    )

    wanted = trained.predict(IMAGES, verbose=0)
    for suffix in ("keras", "h5"):
        for pixels in ("uint8", "float"):
            found = np.load(tmp_path / f"{suffix}-{pixels}.npy")
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        evaluated = np.load(tmp_path / f"{suffix}-evaluate.npy")
        np.testing.assert_allclose(evaluated, trained.evaluate(IMAGES, LABELS, verbose=0), rtol=1e-5)


def test_a_file_holds_no_state_of_the_optimizer(trained: keras.Sequential, tmp_path: Path) -> None:
    save_model(trained, RECORD, tmp_path / "model.keras")
    save_model(trained, RECORD, tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5") as file:
        assert "optimizer_weights" not in file
    with zipfile.ZipFile(tmp_path / "model.keras") as members, members.open("model.weights.h5") as member:
        arrays = h5py.File(member)["optimizer/vars"].values()
        assert [array.id.get_storage_size() for array in arrays] == [0] * len(arrays)


def make_untrained(optimizer: dict[str, Any], units: int) -> keras.Sequential:
    config = parse_config(
        {
            "data": {"train": "x", "target_size": [SIDE, SIDE]},
            "model": {"layers": ["BatchNormalization", "Flatten", {"Dense": units}]},
            "training": {"optimizer": optimizer},
        }
    )
    return float32_copy(build_network(config, class_count=3, statistics=None), config)


@pytest.mark.parametrize("name", load_catalogue().optimizers)
def test_keras_loads_every_optimizer_in_its_initial_state(tmp_path: Path, name: str) -> None:
    """Silently: warnings are errors."""
    model = make_untrained({"name": name, "use_ema": True, "gradient_accumulation_steps": 2}, 4)
    save_model(model, RECORD, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    built = type(loaded).from_config(loaded.get_config())
    built.build(loaded._trainable_variables)
    assert len(loaded.variables) == len(built.variables)
    for one, two in zip(loaded.variables, built.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_state_of_the_optimizer_does_not_count_as_memory(tmp_path: Path) -> None:
    # 6.75 MiB of weights, and twice that for Adam.
    model = make_untrained({"name": "adam"}, 4096)
    save_model(model, RECORD, tmp_path / "model.keras")
    load_model(tmp_path / "model.keras", max_gib=8 / 2**10)
    with pytest.raises(RunFileError, match="more than the limit"):
        load_model(tmp_path / "model.keras", max_gib=6 / 2**10)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_saved_model_is_loaded_with_its_record(
    trained: keras.Sequential, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"model.{suffix}"
    save_model(trained, RECORD, path)
    for given in (path, str(path), tmp_path):
        loaded = load_model(given)
        assert (loaded.path, loaded.record) == (path, RECORD)
        assert loaded.shape == archive.ModelShape((SIDE, SIDE, 3), 3, "softmax")
        assert not loaded.model.compiled
    np.testing.assert_allclose(
        np.asarray(loaded.model(IMAGES)), np.asarray(trained(IMAGES)), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_is_replaced_whole_or_not_at_all(
    trained: keras.Sequential, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"before")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        with pytest.raises(RunFileError, match="No space left on device"):
            save_model(trained, RECORD, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    save_model(trained, RECORD, path)
    assert load_model(path).record == RECORD
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_with_the_path(trained: keras.Sequential, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"missing/model\.keras"):
        save_model(trained, RECORD, tmp_path / "missing" / "model.keras")


@pytest.mark.parametrize("name", ["skin.h5", "skin.keras"])
def test_a_model_of_the_usual_script_is_loaded(foreign: Callable[..., Path], name: str) -> None:
    layers = keras.layers
    path = foreign(
        layers.Conv2D(4, (3, 3), activation="relu", padding="same"),
        layers.MaxPooling2D((2, 2)),
        layers.Dropout(0.2),
        layers.Flatten(),
        layers.Dense(1, activation="sigmoid"),
        name=name,
    )
    loaded = load_model(path)
    assert loaded.record is None
    assert loaded.shape == archive.ModelShape((SIDE, SIDE, 3), 1, "sigmoid")
    assert np.asarray(loaded.model(IMAGES)).shape == (16, 1)


@pytest.mark.parametrize("end", ["Softmax", "Activation"])
def test_an_activation_layer_at_the_end_counts(foreign: Callable[..., Path], end: str) -> None:
    last = keras.layers.Softmax() if end == "Softmax" else keras.layers.Activation("softmax")
    path = foreign(keras.layers.Flatten(), keras.layers.Dense(4), last, name="m.keras")
    assert load_model(path).shape == archive.ModelShape((SIDE, SIDE, 3), 4, "softmax")


@pytest.mark.parametrize(
    ("shape", "layers", "said"),
    [
        ((SIDE,), [keras.layers.Dense(3, activation="softmax")], "its input shape is"),
        ((SIDE, SIDE, 2), [keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")], "1, 3 or 4"),
        (
            (None, None, 3),
            [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1, activation="sigmoid")],
            "its input shape is",
        ),
        ((SIDE, SIDE, 3), [keras.layers.Conv2D(3, 3, activation="softmax")], "its output shape is"),
        ((SIDE, SIDE, 3), [keras.layers.Flatten(), keras.layers.Dense(3)], "output class probabilities"),
        (
            (SIDE, SIDE, 3),
            [keras.layers.Flatten(), keras.layers.Dense(3, activation="sigmoid")],
            "output class probabilities",
        ),
        (
            (SIDE, SIDE, 3),
            [keras.layers.Flatten(), keras.layers.Dense(1, activation="softmax")],
            "output class probabilities",
        ),
    ],
)
def test_what_is_no_image_classifier_is_refused(
    foreign: Callable[..., Path], shape: tuple[int | None, ...], layers: list[Any], said: str
) -> None:
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    with pytest.raises(RunFileError, match=said):
        load_model(foreign(*copies, shape=shape, name="m.keras"))


def test_a_record_must_fit_its_network(trained: keras.Sequential, tmp_path: Path) -> None:
    save_model(trained, RECORD.model_copy(update={"target_size": (99, 99)}), tmp_path / "m.keras")
    with pytest.raises(RunFileError, match="its metadata describes"):
        load_model(tmp_path / "m.keras")


def test_weights_alone_are_no_model(trained: keras.Sequential, tmp_path: Path) -> None:
    trained.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(RunFileError, match="save the whole model"):
        load_model(tmp_path / "m.weights.h5")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_file_cut_short_is_refused(
    trained: keras.Sequential, tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"m.{suffix}"
    save_model(trained, RECORD, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RunFileError, match=f"m.{suffix}"):
        load_model(path)


def rewrite_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description of the network inside a model file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"class_name": "Lambda", "config": {"name": "l"}}, "Lambda, which runs Python code"),
        ({"class_name": "TFSMLayer", "config": {"filepath": "/tmp"}}, "loads another model"),
        ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "reads other files"),
        ({"class_name": "Mine", "config": {}, "registered_name": "my>Mine"}, "Mine, which is not a built-in"),
        ({"class_name": "Dense", "module": "os", "config": {}}, "is from module os"),
        ({"class_name": "Dense", "module": "kerasx.layers", "config": {}}, "is from module kerasx"),
        ({"class_name": "function", "module": "builtins", "config": "eval"}, "is from module builtins"),
        ({"class_name": "__lambda__", "config": {"value": "x"}}, "__lambda__, which is not a built-in"),
        ({"class_name": 3, "config": {}}, "is not a valid name"),
        ({"class_name": "Dense", "config": {"activation": {"class_name": "Lambda"}}}, "runs Python code"),
    ],
)
def test_a_file_that_names_foreign_code_is_refused_before_keras_reads_it(
    trained: keras.Sequential,
    tmp_path: Path,
    suffix: str,
    layer: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / f"m.{suffix}"
    save_model(trained, RECORD, path)
    rewrite_config(path, lambda config: config["config"]["layers"].insert(1, layer))
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("Keras has read the file"))
    with pytest.raises(RunFileError, match=said) as caught:
        load_model(path)
    assert caught.value.exit_status == 4


def test_a_foreign_loss_does_not_matter(trained: keras.Sequential, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    save_model(trained, RECORD, path)
    loss = {"class_name": "function", "module": "builtins", "config": "my_loss"}
    rewrite_config(path, lambda config: config["compile_config"].update(loss=loss))
    assert load_model(path).record == RECORD


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"class_name": "Sequential", "config": []}', "{"])
def test_a_config_that_describes_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr("config.json", text)
        file.writestr("metadata.json", '{"keras_version": "3.15.1"}')
    with pytest.raises(RunFileError, match=r"m\.keras"):
        load_model(tmp_path / "m.keras")
