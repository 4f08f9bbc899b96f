"""What the commands say about transparent images, and how `data.background` reaches the pixels."""

import json

import numpy as np
import pytest
from PIL import Image

from imgtrain import load_config
from imgtrain.dataset.split import split_data
from imgtrain.events import Message
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import load_images
from imgtrain.run.model_metadata import ModelMetadata


@pytest.fixture
def config(tmp_path):
    """A configuration for two classes of transparent images, of which those of `cut` hide several colors."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    for name, hides in (("cut", True), ("plain", False)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            image = pixels.copy()
            image[..., 3] = 255
            image[:4, :, 3] = 0
            image[4 + number, 0, :3] = 0
            if not hides:
                image[:4, :, :3] = number
            Image.fromarray(image).save(tmp_path / "set" / name / f"{number}.png")
    path = tmp_path / "config.yaml"
    path.write_text("data: {train: set, target_size: 16}\nmodel: {layers: [Flatten]}\n")
    return path


def codes(done):
    return {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_check_names_hidden_colors_unless_there_is_a_background(config, imgtrain):
    found = codes(imgtrain("check", config, "--json", "--no-timing"))
    assert found["hidden-colors"]["severity"] == "note"
    assert "3 images" in found["hidden-colors"]["what"]
    blended = config.with_name("blended.yaml")
    blended.write_text(config.read_text().replace("target_size", "background: [255, 255, 255], target_size"))
    assert "hidden-colors" not in codes(imgtrain("check", blended, "--json", "--no-timing"))


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_training_uses_the_background_and_names_hidden_colors_without_it(config, tmp_path, cache):
    def load(*options):
        messages = []
        loaded = load_config(config, [f"data.cache={cache}", f"data.cache_directory={tmp_path}", *options])
        images = load_images(loaded, split_data(loaded), messages.append)
        return images.train.pixels.read(np.array([0]))[0], [
            event.text for event in messages if isinstance(event, Message)
        ]

    ignored, messages = load()
    assert any("3 images with several colors" in text for text in messages)
    assert not (ignored[:4] == 255).all()
    for _ in range(2):  # the second time from the cache
        blended, messages = load("data.background=[255,255,255]")
        assert not any("several colors" in text for text in messages)
        assert (blended[:4] == 255).all()
        np.testing.assert_array_equal(blended[4:], ignored[4:])
    assert len(list(tmp_path.glob("*.pixels"))) == (2 if cache == "disk" else 0)


@pytest.mark.parametrize("color", [[255, 255], [256, 0, 0], "white"])
def test_another_background_is_an_error(config, imgtrain, color):
    done = imgtrain("check", config, "--no-timing")
    assert done.returncode == 0
    config.write_text(f"data: {{train: set, background: {json.dumps(color)}}}")
    done = imgtrain("check", config, "--no-timing")
    assert done.returncode == 2
    assert "data.background" in done.stderr


def test_the_background_is_read_from_a_model_file():
    metadata = ModelMetadata(
        format_version=2,
        class_names=("cut", "plain"),
        target_size=(16, 16),
        color_mode="rgb",
        class_mode="categorical",
        resize="stretch",
        interpolation="bilinear",
        background=(255, 255, 255),
        data_fingerprint="unknown",
        versions={},
        created="2026-11-21T00:00:00+00:00",
    )
    read = ModelMetadata.model_validate_json(metadata.model_dump_json())
    assert DecodeSettings.of(read).background == (255, 255, 255)
