"""The one place where TensorFlow is started; every module behind the wall takes `keras` and `tf` from here.

Starting means: settings that must stand before the import, the import without TensorFlow's own log noise, and
a thread pool of a fixed size.

Why fixed: TensorFlow's kernels cut a sum (the gradient of a filter over a batch, of a Dense kernel, of a
bias) by the number of threads in the pool, and a floating-point sum depends on how it is cut. The pool is by
default as large as the set of cores that the process may use, so that one seed gives other weights under
`taskset` or in a container. `enable_op_determinism` does not change that, nor does switching oneDNN off, which
more than halves the speed. With a pool of one size the weights are equal bit for bit however many cores serve
it. The size is the machine's number of cores: what TensorFlow takes by itself where nothing is restricted. Where
the process may use fewer, surplus threads cost some speed; machines of different sizes may differ in the last
bits.
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
from pathlib import Path
from typing import Any

from imgtrain.errors import ConfigError

__all__ = ["POOL_THREADS", "describe_environment", "device_name", "keras", "start", "tf", "versions"]

POOL_THREADS = os.sysconf("SC_NPROCESSORS_ONLN")
"""Threads inside an operation: the cores of the machine, whatever affinity or `PYTHON_CPU_COUNT` say."""

# How TensorFlow, XLA and CUDA begin a log line, before and after absl takes the log over.
_LOG_LINE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog"
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d"
    r"|[IWEF]0000 00:00:"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "
    r"|To enable the following instructions"
)


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Hold back what C++ and Python write to stderr; at the end pass on everything that is no log line.

    TensorFlow 2.21 writes its first lines before it reads `TF_CPP_MIN_LOG_LEVEL`, so only the file descriptor
    helps.
    """
    sys.stderr.flush()
    try:
        stderr = os.dup(2)
    except OSError:  # The process has no stderr: there is nothing to hold back.
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
    # A user who set a lower level, or imported TensorFlow before, wants what is written there; the highest is what
    # this very line leaves to processes that are started from here.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3" and "tensorflow" not in sys.modules
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if "keras" not in sys.modules:
        # Stronger than the user's environment and ~/.keras/keras.json, which may name JAX or PyTorch.
        os.environ["KERAS_BACKEND"] = "tensorflow"
    with _without_log_lines() if quiet else contextlib.nullcontext():
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            raise ConfigError(
                f"Keras already runs on {keras.backend.backend()} in this process, imgtrain needs "
                "TensorFlow; set KERAS_BACKEND=tensorflow before Keras is imported"
            )
        # Too late in a process that already used TensorFlow: then its owner has chosen the pool.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(POOL_THREADS)
        tf.config.list_physical_devices()  # Looks for GPUs, and says a lot about it.
    if quiet:
        import absl.logging

        absl.logging.set_verbosity(absl.logging.ERROR)
        tf.get_logger().setLevel("ERROR")
    return keras, tf


keras, tf = _import()


def start(seed: int) -> None:
    """Set what a run depends on: the seeds of Python, NumPy and TensorFlow, and Keras's global formats.

    Args:
        seed: 0 ≤ seed < 2³².
    """
    keras.utils.set_random_seed(seed)
    # ~/.keras/keras.json may say otherwise.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that the numbers depend on, by distribution name."""
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
    """Return what trains: the GPUs' names, or the processor's name and its number of cores."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
        return ", ".join(names)
    return f"{_processor_name()}, {POOL_THREADS} cores"


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"
