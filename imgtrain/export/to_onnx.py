"""Convert to ONNX with tf2onnx, and quantize with ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtrain.export.serving import INPUT, OUTPUT, ServingModule
from imgtrain.run.exported_model import METADATA_KEY

__all__ = ["write_onnx"]

# Supported by ONNX Runtime since 1.14; quantization per channel needs 13 or later.
_OPSET = 18
# Smaller tensors are biases and shapes, where float16 saves nothing.
_FEWEST_VALUES_TO_HALVE = 256
# ONNX Runtime quantizes their inputs and weights; preprocessing and the output remain float.
_QUANTIZED_OPERATIONS = ["Conv", "MatMul", "Gemm"]
_CALIBRATION_BATCH = 16


def write_onnx(
    module: ServingModule,
    path: Path,
    metadata: str,
    *,
    quantize: str,
    calibration: NDArray[np.uint8] | None,
    input_type: str,
) -> None:
    """Write an `.onnx` file with the input `images` and the output `probabilities`.

    Args:
        module: The network.
        path: The file.
        metadata: JSON, stored in `metadata_props`.
        quantize: `none`; `float16`: weights as float16; `dynamic`: weights as int8, activations when they are computed;
            `int8`: weights and activations.
        calibration: For `int8`: raw pixels (n, height, width, channels) from which the ranges are measured.
        input_type: `float32` or `uint8`.
    """
    import onnx

    function = module.uint8_function if input_type == "uint8" else module.float_function
    model = _convert(function.get_concrete_function())
    if quantize == "float16":
        _halve_weights(model)
    elif quantize != "none":
        model = _quantize(model, None if calibration is None else calibration.astype(input_type))
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata})
    model.producer_name = "imgtrain"
    path.write_bytes(model.SerializeToString())


def _convert(function: Any) -> Any:
    """Return the ONNX model of a concrete function.

    `tf2onnx.convert.from_function` would make inputs of the constants that a Keras layer has created outside of the
    function, such as the mean of `Normalization`. They are constants after freezing.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    images, probabilities = function.inputs[0].name, function.outputs[0].name
    frozen = tf2onnx.tf_loader.from_function(function, [images], [probabilities])
    model, _ = tf2onnx.convert.from_graph_def(
        frozen,
        name="imgtrain",
        input_names=[images],
        output_names=[probabilities],
        opset=_OPSET,
        tensors_to_rename={images: INPUT, probabilities: OUTPUT},
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def _halve_weights(model: Any) -> None:
    """Store the weights as float16, with a cast back to float32 that runtimes evaluate once when they load the model.

    Computing in float16 would overflow in preprocessing, whose values reach 255², and is slower on most processors.
    """
    import onnx

    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _FEWEST_VALUES_TO_HALVE:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        cast = onnx.helper.make_node("Cast", [f"{name}_float16"], [name], to=onnx.TensorProto.FLOAT)
        model.graph.node.insert(0, cast)


def _quantize(model: Any, calibration: NDArray[Any] | None) -> Any:
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        whole, prepared, quantized = (
            Path(scratch) / f"{name}.onnx" for name in ("whole", "prepared", "quantized")
        )
        onnx.save(model, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        if calibration is None:
            quantize_dynamic(
                prepared, quantized, op_types_to_quantize=_QUANTIZED_OPERATIONS, weight_type=QuantType.QUInt8
            )
        else:
            quantize_static(
                prepared,
                quantized,
                _Reader(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED_OPERATIONS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Seven bits: products of eight bits overflow on processors without VNNI.
                reduce_range=True,
            )
        return onnx.load(quantized)


class _Reader:
    """The calibration images in batches, in the form that ONNX Runtime expects."""

    def __init__(self, images: NDArray[Any]) -> None:
        self._batches: Iterator[NDArray[Any]] = (
            images[start : start + _CALIBRATION_BATCH] for start in range(0, len(images), _CALIBRATION_BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
