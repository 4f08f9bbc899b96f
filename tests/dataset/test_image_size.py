"""`data.target_size: auto`: the size that `init` would write, wherever a configuration is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from imgtrain.config import load_config, parse_config
from imgtrain.dataset.plan import make_plan
from imgtrain.dataset.propose import propose_config
from imgtrain.errors import ConfigError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(30):
            Image.new("RGB", (400, 300), (number, 0, 0)).save(root / name / f"{number}.jpg")
    return root


def auto(photos: Path, **training: object) -> dict[str, object]:
    return {"data": {"train": str(photos), "target_size": "auto"}, "training": training}


@pytest.mark.parametrize("minutes", [0.01, 0.1, 10])
def test_it_is_the_size_of_init(photos: Path, tmp_path: Path, minutes: float) -> None:
    (tmp_path / "c.yaml").write_text(propose_config(photos, tmp_path, minutes=minutes))
    plan = make_plan(parse_config(auto(photos, minutes=minutes)))
    assert plan.auto_size
    assert plan.config.data.target_size == load_config(tmp_path / "c.yaml").data.target_size
    assert not make_plan(load_config(tmp_path / "c.yaml")).auto_size


def test_more_time_buys_larger_images_of_the_same_shape(photos: Path) -> None:
    sizes = [
        make_plan(parse_config(auto(photos, minutes=minutes))).config.data.size for minutes in (0.001, 0.1, 1)
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3
    assert all(width > height for height, width in sizes)


def test_without_a_budget_it_is_an_error_beside_the_others(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(parse_config({**auto(photos / "nowhere"), "preprocessing": {"rescale": 1}}))
    assert "auto requires training.minutes" in str(caught.value)
    assert "nowhere" in str(caught.value)


def test_check_and_preview_know_it(photos: Path, tmp_path: Path, imgtrain) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps(auto(photos, minutes=0.01)))
    height, width = make_plan(load_config(config)).config.data.size
    done = imgtrain("check", config, "--no-timing", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["cost"]["cache_bytes"] >= 60 * height * width * 3
    done = imgtrain("preview-aug", config, "--each", "--images", "1", "--count", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = next((tmp_path / "preview-aug").iterdir())
    with Image.open(written) as image:
        assert image.size == (width, height)
    done = imgtrain("check", config, "--set", "training.minutes=null", cwd=tmp_path)
    assert "auto requires training.minutes" in done.stdout
