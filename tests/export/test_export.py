"""Models exported to every format, run in their own runtimes, beside the Keras model."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from export_formats import ALL

from imgtrain.errors import ConfigError, DataError, RunFileError
from imgtrain.run.model_metadata import find_model

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("fast_latency")]


@pytest.fixture(scope="module")
def exports(exportable_run, tmp_path_factory):
    """Return a function that exports the model once per format and quantization."""
    from imgtrain.workflows.export import export_model

    folder, made = tmp_path_factory.mktemp("exports"), {}

    def make(format, quantize="none"):
        if (format, quantize) not in made:
            output = folder / f"{format}-{quantize}{ALL[format]}"
            # The interval of 30 images is wide, however well they agree.
            made[format, quantize] = export_model(
                exportable_run, format=format, quantize=quantize, output=output, max_loss=30
            )
        return made[format, quantize]

    return make


@pytest.fixture(scope="module")
def pictures(exportable_run):
    """Return raw pixels (6, height, width, channels), and the Keras model's probabilities of them."""
    from imgtrain.evaluation.predict import predictor, views
    from imgtrain.model.archive import load_model

    pixels = np.random.default_rng(1).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    model = load_model(exportable_run).model
    return pixels, predictor(model, mirrored=views(flip_average=True))(pixels)


@pytest.mark.parametrize("format", ALL)
def test_an_exported_model_gives_the_probabilities_of_the_keras_model(exports, pictures, format):
    from imgtrain.export.runtimes import load_exported

    pixels, expected = pictures
    exported = load_exported(find_model(exports(format).path))
    for images, size in (
        (pixels, 6),
        (pixels.astype(np.float32), 6),
        (pixels[:1], 1),
        (np.tile(pixels, (7, 1, 1, 1)), 42),
    ):
        probabilities = exported(images)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, np.resize(expected, (size, 3)), atol=1e-5)


@pytest.mark.parametrize(
    ("format", "quantize", "share", "tolerance"),
    [
        ("litert", "float16", 0.85, 0.002),
        ("litert", "int8", 0.85, 0.1),
        ("onnx", "float16", 0.85, 0.002),
        ("onnx", "dynamic", 0.85, 0.1),
        ("onnx", "int8", 0.95, 0.1),
    ],
)
def test_a_quantized_model_is_smaller_and_almost_as_accurate(
    exports, pictures, format, quantize, share, tolerance
):
    from imgtrain.export.runtimes import load_exported

    result = exports(format, quantize)
    assert result.path.stat().st_size < share * exports(format).path.stat().st_size
    pixels, expected = pictures
    difference = np.abs(load_exported(find_model(result.path))(pixels) - expected).max()
    assert 0 < difference < tolerance
    assert result.figures["quantize"] == quantize
    assert result.figures["equal_decisions"] > 0.9


def test_the_metadata_travels_in_the_file_and_beside_it(exports, exportable_run):
    import onnx

    original = find_model(exportable_run).metadata
    for format in ALL:
        path = exports(format).path
        metadata = find_model(path).metadata
        # The network averages mirror images itself.
        assert metadata == original.model_copy(update={"flip_average": False, "format_version": 1})
        beside = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert beside["class_names"] == ["dark", "grey", "light"]
        assert beside["export"]["images"] == 30
        assert beside["export"]["equal_decisions"] == 1
        assert beside["export"]["latency"]["exported"]["32"]["p95_ms"] > 0
    properties = {entry.key: entry.value for entry in onnx.load(exports("onnx").path).metadata_props}
    with zipfile.ZipFile(exports("litert").path) as archive:
        texts = [properties["imgtrain"], archive.read("imgtrain.json")]
    texts.append((exports("saved_model").path / "assets" / "imgtrain.json").read_text())
    for format, text in zip(("onnx", "litert", "saved_model"), texts, strict=True):
        assert json.loads(text)["export"]["format"] == format
        assert len(json.loads(text)["export"]["model_sha256"]) == 64


def test_the_figures_are_kept_in_the_run_and_the_next_run_there_removes_them(
    exports, exportable_run, tmp_path
):
    from imgtrain.run.run_directory import RunDirectory

    exports("onnx")
    recorded = json.loads((exportable_run / "export.json").read_text())
    assert recorded[str(exports("onnx").path)]["format"] == "onnx"

    run = tmp_path / "run"
    run.mkdir()
    shutil.copytree(exports("saved_model").path, run / "model.saved_model")
    shutil.copy(exports("onnx").path, run / "model.onnx")
    (run / "model.onnx.json").write_text("{}")
    (tmp_path / "kept.onnx").write_text("x")
    (run / "export.json").write_text(
        json.dumps({"model.onnx": {}, "model.saved_model": {}, "../kept.onnx": {}})
    )
    RunDirectory(run).clear()
    assert not [*run.iterdir()]
    assert (tmp_path / "kept.onnx").exists()


@pytest.mark.parametrize("format", ALL)
def test_a_model_that_differs_is_not_left_behind(exportable_run, tmp_path, monkeypatch, format):
    from imgtrain.export import convert
    from imgtrain.export.serving import ServingModule
    from imgtrain.model.runtime import keras
    from imgtrain.workflows.export import export_model

    class OtherWeights(ServingModule):
        def __init__(self, network, *, flip_average):
            other = keras.models.clone_model(network)
            other.set_weights([weights * 1.01 for weights in network.get_weights()])
            super().__init__(other, flip_average=flip_average)

    monkeypatch.setattr(convert, "ServingModule", OtherWeights)
    with pytest.raises(DataError, match="differs from the Keras model"):
        export_model(exportable_run, format=format, output=tmp_path / f"model{ALL[format]}")
    assert not [*tmp_path.iterdir()]


def test_a_quantized_model_is_rejected_by_the_interval_of_its_loss(exportable_run, tmp_path):
    from imgtrain.workflows.export import export_model

    with pytest.raises(
        DataError, match=r"may lose up to \d.* on 30 images; allowed: 1\)\n.*more images with --data"
    ):
        export_model(exportable_run, format="onnx", quantize="float16", output=tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]


def test_an_existing_file_is_only_replaced_when_told_so(exportable_run, tmp_path):
    from imgtrain.workflows.export import export_model

    output = tmp_path / "model.onnx"
    output.write_text("mine")
    with pytest.raises(RunFileError, match="--overwrite"):
        export_model(exportable_run, format="onnx", output=output)
    assert output.read_text() == "mine"


def test_layers_that_a_format_lacks_are_named(exportable_run, tmp_path):
    from imgtrain.model.runtime import keras
    from imgtrain.workflows.export import export_model

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Reshape((144, 3)),
            layers.GRU(2, return_sequences=True, name="first"),
            layers.LSTM(2, name="second"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.save(tmp_path / "recurrent.keras")
    test = find_model(exportable_run).metadata.test_folder
    shutil.copytree(test, tmp_path / "data", ignore=shutil.ignore_patterns("grey"))
    with pytest.raises(RunFileError) as caught:
        export_model(tmp_path / "recurrent.keras", format="litert", data=tmp_path / "data", rescale="1/255")
    assert [problem.where for problem in caught.value.problems] == ["layer first", "layer second"]
    assert "--format onnx" in str(caught.value)
    # A plain Keras model: classes and scaling are those given.
    result = export_model(
        tmp_path / "recurrent.keras", format="onnx", data=tmp_path / "data", rescale="1/255"
    )
    assert find_model(result.path).metadata.class_names == ("dark", "light")
    with pytest.raises(ConfigError, match="--config"):
        export_model(
            tmp_path / "recurrent.keras",
            format="onnx",
            quantize="int8",
            data=tmp_path / "data",
            rescale="1",
        )


def test_evaluate_and_predict_give_the_same_for_exported_models(exports, exportable_run, imgtrain, tmp_path):
    images = Path(find_model(exportable_run).metadata.test_folder)
    keras = json.loads(imgtrain("evaluate", exportable_run, "--json").stdout)
    rows = {}
    for format in ("keras", *ALL):
        model = exportable_run if format == "keras" else exports(format).path
        done = imgtrain("evaluate", model, "--json")
        assert done.returncode == 0, done.stderr
        metrics = json.loads(done.stdout)
        for key, value in keras["evaluation"].items():
            if isinstance(value, float):
                assert metrics["evaluation"][key] == pytest.approx(value, abs=1e-5), (format, key)
        assert metrics["evaluation"]["confusion_matrix"] == keras["evaluation"]["confusion_matrix"]
        output = tmp_path / f"{format}.json"
        assert imgtrain("predict", model, images, "--output", output).returncode == 0
        rows[format] = json.loads(output.read_text())
    for format in ALL:
        assert [row["predicted"] for row in rows[format]] == [row["predicted"] for row in rows["keras"]]
    done = imgtrain("evaluate", exports("onnx").path, "--output", tmp_path / "scores")
    assert done.returncode == 0
    assert (tmp_path / "scores" / "report.html").exists()


def test_the_command_prints_figures_or_json_alone(exportable_run, imgtrain, tmp_path):
    done = imgtrain(
        "export",
        exportable_run,
        "--format",
        "onnx",
        "--input-type",
        "uint8",
        "-o",
        tmp_path / "a.onnx",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["input_types"] == ["uint8"]
    assert figures["accuracy_difference"] == 0
    done = imgtrain("export", exportable_run, "--format", "litert", "-o", tmp_path / "a.tflite")
    assert done.returncode == 0, done.stderr
    assert "100.00 % equal decisions" in done.stdout
    assert "Latency, batch 32, p95" in done.stdout
