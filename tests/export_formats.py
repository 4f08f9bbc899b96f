"""The formats of `imgtrain export` and how their files end."""

ALL = {"litert": ".tflite", "onnx": ".onnx", "saved_model": ""}
