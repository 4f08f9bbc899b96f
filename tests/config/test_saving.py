"""What Keras cannot save or load is told by `imgtrain check` and before TensorFlow starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgtrain.audit.check import check
from imgtrain.config.load import parse_config
from imgtrain.config.saving import check_saving
from imgtrain.dataset.plan import make_plan
from imgtrain.errors import ConfigError


def problems_of(layers: list[Any], *, model: str = "model.keras", optimizer: str = "adam") -> list[str]:
    config = {
        "data": {"train": "x"},
        "model": {"layers": layers},
        "training": {"optimizer": optimizer},
        "output": {"model": model},
    }
    return [
        f"{problem.where}: {problem.what}; {problem.hint}" for problem in check_saving(parse_config(config))
    ]


def test_usual_layers_are_fine_in_both_formats() -> None:
    layers = [{"RandomShear": {"x_factor": [0, 0.2], "y_factor": 0}}, {"Softmax": {"axis": -1}}, "Flatten"]
    assert problems_of(layers) == problems_of(layers, model="m.h5") == []


@pytest.mark.parametrize(
    ("layer", "keras", "h5"),
    [
        ({"RandomShear": {"x_factor": 0.2, "y_factor": 0.1}}, 2, 2),
        ({"RandomBrightness": 0.2}, 0, 1),
        ({"LayerNormalization": {"axis": [1, 2]}}, 0, 1),
    ],
)
def test_what_fails_in_a_format_is_told_with_what_to_do(layer: Any, keras: int, h5: int) -> None:
    assert len(problems_of(["Flatten", layer])) == keras
    told = problems_of(["Flatten", layer], model="m.h5")
    assert len(told) == h5
    assert all(
        text.startswith(f"model.layers[1]: layer 2, {next(iter(layer))}: Keras cannot") or "axis" in text
        for text in told
    )
    assert all("use a list" in text or "model.keras" in text for text in told)


def test_an_optimizer_that_h5_cannot_hold_is_told() -> None:
    assert problems_of(["Flatten"], optimizer="lamb") == []
    (told,) = problems_of(["Flatten"], optimizer="lamb", model="m.h5")
    assert told.startswith("training.optimizer: Keras cannot load Lamb from an .h5 file")


def test_check_and_train_tell_the_same(tmp_path: Path, image_folders: Callable[..., Path]) -> None:
    images = image_folders({"a": 3, "b": 3})
    path = tmp_path / "c.yaml"
    path.write_text(
        f"data: {{train: {images}, target_size: [8, 8]}}\n"
        "model:\n  layers:\n    - RandomShear: {x_factor: 0.2}\n    - RandomSharpness: 0.1\n    - Flatten\n"
        "output: {model: model.h5}\n"
    )
    found = [finding.what for finding in check(path).findings if finding.severity == "error"]
    from imgtrain.config.load import load_config

    with pytest.raises(ConfigError) as caught:
        make_plan(load_config(path))
    assert found == [f"{problem.where}: {problem.what}" for problem in caught.value.problems]
    assert len(found) == 2
