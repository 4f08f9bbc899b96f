from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgtrain.model.runtime import POOL_THREADS, device_name, keras, tf, versions

pytestmark = pytest.mark.tensorflow

# Shapes at which TensorFlow cuts its sums by the number of threads: with its default pool, one core and two
# cores give different weights.
TRAINING = """
import hashlib
import os
if os.environ.get("ONE_CORE"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import numpy as np
from imgtrain.config.load import parse_config
from imgtrain.model.build import build_network
from imgtrain.model.compile import compile_network
from imgtrain.model.runtime import keras, start

layers = [
    {"Conv2D": {"filters": 16, "kernel_size": 3, "padding": "same", "activation": "relu"}},
    {"MaxPooling2D": 2}, {"Dropout": 0.2}, "Flatten", {"Dense": {"units": 64, "activation": "relu"}},
]
config = parse_config({"data": {"train": "x", "target_size": [96, 96]}, "model": {"layers": layers}})
start(config.training.seed)
model = build_network(config, class_count=10, statistics=None)
compile_network(model, config)
rng = np.random.default_rng(0)
for _ in range(3):
    images = rng.integers(0, 256, (32, 96, 96, 3), dtype=np.uint8)
    model.train_on_batch(images, np.eye(10, dtype="float32")[rng.integers(0, 10, 32)])
print(keras.backend.backend())
print(hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest())
"""


def train(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-c", TRAINING],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**clean, **environment},
    )


def test_training_is_silent_and_does_not_depend_on_cores_or_thread_settings() -> None:
    here = train()
    elsewhere = train(ONE_CORE="1", TF_NUM_INTRAOP_THREADS="3", OMP_NUM_THREADS="1", KERAS_BACKEND="numpy")
    assert here.stdout.split() == elsewhere.stdout.split()
    assert here.stdout.startswith("tensorflow\n")
    assert here.stderr == elsewhere.stderr == ""


def test_the_pool_is_as_large_as_the_machine() -> None:
    assert tf.config.threading.get_intra_op_parallelism_threads() == POOL_THREADS
    assert len(os.sched_getaffinity(0)) <= POOL_THREADS


def test_versions_and_device_are_named() -> None:
    found = versions()
    assert found["keras"] == keras.__version__
    assert found["tensorflow"] == tf.__version__
    assert found["python"].count(".") == 2
    assert device_name()
