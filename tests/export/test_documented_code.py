"""The code in docs/export.md gives the probabilities of `imgtrain predict`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import REPOSITORY

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("fast_latency")]


def documented_code(name: str) -> str:
    text = (REPOSITORY / "docs" / "export.md").read_text()
    (code,) = re.findall(rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def application(exportable_run, tmp_path_factory):
    """Return a folder with an exported model and a photo, and the probabilities that imgtrain predicts for it."""
    from imgtrain.workflows.export import export_model
    from imgtrain.workflows.predict import predict

    folder = tmp_path_factory.mktemp("application")
    export_model(exportable_run, format="onnx", output=folder / "model.onnx")
    ramp = np.linspace(0, 200, 97)[None, :, None] + np.random.default_rng(0).integers(0, 55, (61, 97, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(ramp.astype(np.uint8)).save(folder / "photo.jpg", exif=exif)
    predict(exportable_run, [str(folder / "photo.jpg")], output=folder / "expected.json")
    (row,) = json.loads((folder / "expected.json").read_text())
    return folder, row["probabilities"]


def test_python(application):
    folder, expected = application
    (folder / "classify.py").write_text(documented_code("classify.py"))
    done = subprocess.run(
        [sys.executable, "classify.py"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="needs Node.js and npm"
)
def test_javascript(application):
    folder, expected = application
    for name in ("classify.mjs", "resize.mjs"):
        (folder / name).write_text(documented_code(name))
    install = ["npm", "install", "--no-audit", "--no-fund", "onnxruntime-web@1", "sharp@0.34"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        ["node", "classify.mjs"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    # Decoders of JPEG may differ in the last bit of a pixel.
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-3)

    # The resize is exact.
    pixels = np.random.default_rng(1).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    (folder / "pixels.bin").write_bytes(pixels.tobytes())
    code = (
        'import { readFileSync, writeFileSync } from "node:fs"; import { resize } from "./resize.mjs";'
        'writeFileSync("resized.bin", resize(readFileSync("pixels.bin"), 97, 61, 3, 40, 72));'
    )
    (folder / "exact.mjs").write_text(code)
    subprocess.run(["node", "exact.mjs"], cwd=folder, timeout=60, check=True)
    resized = np.frombuffer((folder / "resized.bin").read_bytes(), np.uint8).reshape(72, 40, 3)
    pillow = Image.fromarray(pixels).resize((40, 72), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized, np.asarray(pillow))
