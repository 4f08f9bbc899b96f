"""The only module that imports TensorFlow and Keras directly; others import `keras` and `tf` from here.

It applies settings that are required before the import, imports TensorFlow without its log messages, and sets a fixed
size of the thread pool.

The size is fixed because TensorFlow's kernels split sums (gradients of filters, of Dense kernels, of biases) by the
number of threads in the pool, and floating-point sums depend on how they are split. By default, the pool has as many
threads as the process may use cores, so the same seed would give other weights under `taskset` or in a container.
`enable_op_determinism` doesn't change that, nor does disabling oneDNN, which more than halves the speed. With a fixed
size, weights are bit-identical regardless of the number of available cores. The size is the machine's number of cores,
TensorFlow's default without restrictions. If the process may use fewer cores, additional threads cost some speed;
machines with different numbers of cores may differ in the last bits.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from imgtrain.errors import ConfigError
from imgtrain.run.machine import processor_name, total_cores

__all__ = ["POOL_THREADS", "describe_environment", "device_name", "keras", "start", "tf", "versions"]

POOL_THREADS = total_cores()
"""Intra-op threads: the machine's number of cores, regardless of affinity and `PYTHON_CPU_COUNT`."""

# Start of log lines of TensorFlow, XLA and CUDA, before and after absl logging is initialized.
_LOG_LINE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog"
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d"
    r"|[IWEF]0000 00:00:"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "
    r"|To enable the following instructions"
)


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Filter log lines from the stderr of C++ and Python in the block; everything else is printed at its end.

    TensorFlow 2.21 writes its first lines before it reads `TF_CPP_MIN_LOG_LEVEL`, so the file descriptor has to be
    redirected.
    """
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # The process has no stderr.
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held.read().decode("utf-8", "replace").splitlines():
                if not _LOG_LINE.match(line):
                    print(line, file=sys.stderr)


def _import() -> tuple[Any, Any]:
    # Users who set a lower level, or imported TensorFlow before, want to see its log. The highest level may be
    # inherited from a parent process that executed this line.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3" and "tensorflow" not in sys.modules
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if "keras" not in sys.modules:
        # Overrides the environment and ~/.keras/keras.json, which may select JAX or PyTorch.
        os.environ["KERAS_BACKEND"] = "tensorflow"
    with _without_log_lines() if quiet else contextlib.nullcontext():
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            raise ConfigError(
                f"imgtrain requires the TensorFlow backend, but Keras already uses {keras.backend.backend()} in this "
                "process; set KERAS_BACKEND=tensorflow before importing Keras"
            )
        # Not possible if the process has already used TensorFlow: then keep its thread pool.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(POOL_THREADS)
        tf.config.list_physical_devices()  # initializes GPUs, which logs a lot
    if quiet:
        import absl.logging

        absl.logging.set_verbosity(absl.logging.ERROR)
        tf.get_logger().setLevel("ERROR")
    return keras, tf


keras, tf = _import()


def start(seed: int) -> None:
    """Set the seeds of Python, NumPy and TensorFlow, and Keras's global settings.

    Args:
        seed: 0 ≤ seed < 2³².
    """
    keras.utils.set_random_seed(seed)
    # ~/.keras/keras.json may have other values.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


def versions() -> dict[str, str]:
    """Return the versions of Python and of all packages that affect results, by distribution name."""
    packages = (
        "imgtrain",
        "tensorflow",
        "keras",
        "numpy",
        "pillow",
        "opencv-python-headless",
        "scikit-learn",
    )
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe_environment() -> str:
    """Return the device and the versions on one line."""
    return f"{device_name()}; {', '.join(f'{package} {version}' for package, version in versions().items())}"


def device_name() -> str:
    """Return the names of the GPUs, or the name and number of cores of the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
        return ", ".join(names)
    return f"{processor_name()}, {POOL_THREADS} cores"
