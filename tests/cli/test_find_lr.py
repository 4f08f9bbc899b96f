"""`imgtrain train --find-lr`: a curve and a suggestion, and nothing else changes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import yaml
from PIL import Image

from imgtrain.cli.curves import draw_loss_curve, draw_sparkline

CONFIG = """
data: {train: train, target_size: [16, 16], batch_size: 8}
model: {layers: [Flatten, {Dense: 8}]}
training: {optimizer: {name: sgd, momentum: 0.9}, schedule: cosine, epochs: 1}
"""


@pytest.mark.tensorflow
def test_a_rate_is_suggested_and_the_run_is_not_touched(tmp_path, make_folders, imgtrain):
    make_folders(tmp_path, {"train": {"a": 20, "b": 20}}, side=16)
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    assert imgtrain("train", "c.yaml", "--output", "run", cwd=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    done = imgtrain("train", "c.yaml", "--find-lr", "--output", "found", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "found").iterdir()} == {
        "learning-rates.csv",
        "learning-rates.png",
    }
    with (tmp_path / "found/learning-rates.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    rates, losses = (np.array([row[name] for row in rows]) for name in ("learning_rate", "loss"))
    assert rates[1:] / rates[:-1] == pytest.approx(rates[1] / rates[0])
    # Two classes that differ in brightness: learned, and then left.
    assert losses.min() < 0.5 * losses[:10].mean()
    with Image.open(tmp_path / "found/learning-rates.png") as figure:
        assert figure.width > 500
    line = next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith("optimizer:"))
    suggested = yaml.safe_load(line)["optimizer"]
    assert {name: suggested[name] for name in ("name", "momentum")} == {"name": "sgd", "momentum": 0.9}
    assert rates[0] < suggested["learning_rate"] < rates[-1]
    # It is a line that a configuration accepts.
    config.write_text(CONFIG.replace("optimizer: {name: sgd, momentum: 0.9}", line))
    assert imgtrain("train", "c.yaml", "--dry-run", cwd=tmp_path).returncode == 0

    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    refused = imgtrain("train", "c.yaml", "--find-lr", "--output", "run", cwd=tmp_path)
    assert refused.returncode == 4
    assert "is a run directory" in refused.stderr


@pytest.mark.parametrize("option", ["--resume", "--overwrite", "--dry-run"])
def test_it_cannot_be_combined(tmp_path, imgtrain, option):
    done = imgtrain("train", tmp_path / "missing.yaml", "--find-lr", option)
    assert done.returncode == 2
    assert f"--find-lr and {option} are mutually exclusive" in done.stderr


def test_the_curve_falls_and_rises_around_the_marked_rate():
    rates = np.geomspace(1e-6, 1, 100)
    lines = draw_loss_curve(rates, (np.log10(rates) + 3) ** 2, 1e-3)
    rows = [line.split("┤")[1] for line in lines if "┤" in line]
    middle = len(rows[0]) // 2
    # The edges are at 9 of 13.5.
    assert rows[3][0] == rows[3][-1] == "•"
    assert "•" in rows[-1][middle - 5 : middle + 5]
    assert all(row[middle - 1 : middle + 1].strip() for row in rows)
    assert "1e-3" in lines[-2]
    assert len({len(line) for line in lines if "┤" in line}) == 1


def test_a_sparkline_has_the_maximum_at_its_place():
    assert draw_sparkline([0, 1, 2, 4, 2, 0]) == "▁▃▅█▅▁"
    assert len(draw_sparkline(np.linspace(0, 1, 1000))) == 60
    assert draw_sparkline([0.0, 0.0]) == "▁▁"
