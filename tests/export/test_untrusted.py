"""Exported models that do more than compute are rejected before a runtime loads them."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imgtrain.errors import ConfigError, RunFileError
from imgtrain.export.request import ExportRequest
from imgtrain.export.untrusted import check_onnx, check_saved_model, check_size
from imgtrain.run.exported_model import METADATA_KEY
from imgtrain.run.model_metadata import find_model

METADATA = {
    "class_names": ["a", "b", "c"],
    "target_size": [4, 4],
    "color_mode": "rgb",
    "class_mode": "categorical",
    "resize": "stretch",
    "interpolation": "bilinear",
    "data_fingerprint": "0",
    "versions": {},
    "created": "now",
}


def make_onnx(nodes, initializers=(), metadata=METADATA):
    """Return an ONNX file with the input and output of an exported model."""
    from onnx import TensorProto, helper

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 4, 4, 3])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [images], [probabilities], initializer=list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    return model.SerializeToString()


def test_onnx_files_with_weights_in_other_files_or_foreign_operations_are_rejected():
    from onnx import helper, numpy_helper

    secret = numpy_helper.from_array(np.zeros(3, np.float32), "weights")
    secret.ClearField("raw_data")
    secret.data_location = 1
    secret.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph([helper.make_node("Run", [], ["x"], domain="evil")], "inner", [], [])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(RunFileError) as caught:
        check_onnx(make_onnx([branch], [secret]), Path("m.onnx"))
    assert [problem.what for problem in caught.value.problems] == [
        "is rejected: it stores weights in another file",
        "is rejected: it contains the operation evil.Run, which ONNX does not define",
    ]
    constant = helper.make_node("Constant", [], ["y"], value=secret)
    with pytest.raises(RunFileError, match="in another file"):
        check_onnx(make_onnx([constant]), Path("m.onnx"))
    check_onnx(make_onnx([helper.make_node("Identity", ["x"], ["y"])]), Path("m.onnx"))
    with pytest.raises(RunFileError, match="corrupt"):
        check_onnx(b"\xff\xff\xff", Path("m.onnx"))


def test_a_network_that_contradicts_its_metadata_is_rejected(tmp_path):
    from onnx import helper, numpy_helper

    from imgtrain.export.runtimes import load_exported

    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
        helper.make_node("Softmax", ["means"], ["probabilities"]),
    ]
    axes = numpy_helper.from_array(np.array([1, 2], np.int64), "axes")
    path = tmp_path / "m.onnx"
    path.write_bytes(make_onnx(nodes, [axes]))
    exported = load_exported(find_model(path))
    np.testing.assert_allclose(exported(np.zeros((2, 4, 4, 3), np.uint8)), np.full((2, 3), 1 / 3), rtol=1e-6)
    for change, said in (
        ({"class_names": ["a", "b", "c", "d"]}, "4 outputs"),
        ({"color_mode": "rgba"}, "cannot be loaded"),
    ):
        path.write_bytes(make_onnx(nodes, [axes], {**METADATA, **change}))
        with pytest.raises(RunFileError, match=said):
            load_exported(find_model(path))
    path.write_bytes(make_onnx(nodes, [axes], {**METADATA, "class_mode": "binary"}))
    with pytest.raises(RunFileError, match="metadata"):
        find_model(path)
    path.write_bytes(b"")
    with pytest.raises(RunFileError, match="without the metadata"):
        find_model(path)


def test_damaged_litert_files_are_rejected(tmp_path):
    from imgtrain.export.runtimes import load_exported

    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    with pytest.raises(RunFileError, match="without the metadata"):
        find_model(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("imgtrain.json", json.dumps(METADATA))
    with pytest.raises(RunFileError, match="cannot be loaded as a LiteRT"):
        load_exported(find_model(path))


@pytest.mark.tensorflow
def test_saved_models_that_touch_files_or_run_python_are_rejected(tmp_path):
    from imgtrain.model.runtime import tf

    def save(name, function):
        module = tf.Module()
        module.weights = [tf.Variable([1.0])]
        module.function = tf.function(function, input_signature=[tf.TensorSpec([None], tf.float32)])
        tf.saved_model.save(module, str(tmp_path / name), signatures=module.function)
        return tmp_path / name

    def write(x):
        tf.io.write_file(str(tmp_path / "canary"), "x")
        return x

    def run(x):
        return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), [None])

    def checkpoint(x):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "canary"), tensor_names=["x"], shape_and_slices=[""], tensors=[x]
        )
        return x

    def loop(x):
        return tf.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, write(x)), [0, x])[1]

    check_saved_model(save("good", lambda x: 2 * x))
    for function, said in (
        (write, "WriteFile"),
        (run, "PyFunc"),
        (checkpoint, "SaveV2"),
        (loop, "WriteFile"),
    ):
        with pytest.raises(RunFileError, match=said):
            check_saved_model(save(function.__name__, function))
    assert not (tmp_path / "canary").exists()
    with pytest.raises(RunFileError, match="more than the limit of 100 bytes"):
        check_size(tmp_path / "good", 100)
    (tmp_path / "good" / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(RunFileError, match="corrupt"):
        check_saved_model(tmp_path / "good")


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("onnxruntime", "ai_edge_litert") else found(name),
    )
    with pytest.raises(ConfigError, match=r"onnxruntime\n +pip install 'imgtrain\[onnx\]'"):
        ExportRequest("onnx").check()
    with pytest.raises(ConfigError, match=r"ai-edge-litert\n +pip install 'imgtrain\[litert\]'"):
        ExportRequest("litert").check()


def test_impossible_requests_are_reported_together(tmp_path):
    with pytest.raises(ConfigError) as caught:
        ExportRequest("saved_model", "int8", "uint8").check()
    assert [problem.where for problem in caught.value.problems] == ["--quantize", "--input-type"]
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        ExportRequest("onnx").destination(tmp_path / "m.keras", tmp_path / "m.tflite", overwrite=False)
    path = ExportRequest("litert", "int8").destination(tmp_path / "m.keras", None, overwrite=False)
    assert path == tmp_path / "m-int8.tflite"
    (tmp_path / "photos").mkdir()
    with pytest.raises(RunFileError, match="is not a SavedModel, so it is not replaced"):
        ExportRequest("saved_model").destination(tmp_path / "m.keras", tmp_path / "photos", overwrite=True)
