"""Every layer of the catalogue is exported to every format and computes the same, or is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from layer_examples import EXAMPLES, VARIANTS

from imgtrain.config.load import parse_config
from imgtrain.errors import RunFileError
from imgtrain.export.convert import convert
from imgtrain.export.request import ExportRequest
from imgtrain.export.runtimes import load_exported
from imgtrain.model.build import build_network
from imgtrain.model.check_network import check_network
from imgtrain.model.runtime import keras
from imgtrain.run.model_metadata import ModelFile, ModelMetadata

pytestmark = pytest.mark.tensorflow

FORMATS = {"litert": "m.tflite", "onnx": "m.onnx", "saved_model": "m"}
# What a new name here costs its users: the format without this layer. docs/export.md lists them.
REFUSED_BY_LITERT = {
    "AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D", "AveragePooling3D", "MaxPooling3D",
    "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "Masking", "SimpleRNN",
    "a sequence backwards", "a mask",
}  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
METADATA = ModelMetadata(
    class_names=("a", "b", "c"),
    target_size=(8, 8),
    color_mode="rgb",
    class_mode="categorical",
    resize="stretch",
    interpolation="bilinear",
    data_fingerprint="00",
    versions={},
    created="2026-01-01T00:00:00+00:00",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXAMPLES, *VARIANTS])
def test_every_layer(name, tmp_path):
    config = parse_config(
        {"data": {"train": "x", "target_size": [8, 8]}, "model": {"layers": {**EXAMPLES, **VARIANTS}[name]}}
    )
    if check_network(config, class_count=3, precision="float32"):
        pytest.skip("cannot be trained")
    keras.utils.set_random_seed(0)
    network = build_network(config, class_count=3, statistics=None)
    expected = np.asarray(network(IMAGES.astype(np.float32), training=False))
    for format, file in FORMATS.items():
        path = tmp_path / file
        if format == "litert" and name in REFUSED_BY_LITERT:
            with pytest.raises(RunFileError, match=r"layer .*: LiteRT"):
                convert(network, path, METADATA.to_json(), ExportRequest(format))
            assert not path.exists()
            continue
        convert(network, path, METADATA.to_json(), ExportRequest(format))
        exported = load_exported(ModelFile(path, METADATA, format))
        for images in (IMAGES, IMAGES[:1].astype(np.float32)):
            np.testing.assert_allclose(exported(images), expected[: len(images)], atol=1e-5, err_msg=format)
