"""The sections: immutable, described, and the short forms of layers and optimizers."""

from __future__ import annotations

import copy
import pickle

import pytest
from pydantic import BaseModel, ValidationError

from imgtrain.config import Config, parse_config
from imgtrain.config.schema import AugmentationConfig, LayerSpec, OptimizerSpec

CONFIG = parse_config({"data": {"train": "images"}})


def all_sections(section: type[BaseModel] = Config):
    yield section
    for field in section.model_fields.values():
        for annotation in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from all_sections(annotation)


def test_nothing_can_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.training.epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.training = None


@pytest.mark.parametrize("section", list(all_sections()), ids=lambda section: section.__name__)
def test_every_field_is_described(section):
    undescribed = [name for name, field in section.model_fields.items() if not field.description]
    assert not undescribed


def test_configurations_travel_between_processes():
    assert pickle.loads(pickle.dumps(CONFIG)) == CONFIG
    assert copy.deepcopy(CONFIG) == CONFIG


def test_equal_is_what_asks_for_the_same():
    assert parse_config({"data": {"train": "images"}, "training": {"epochs": 10}}) == CONFIG
    assert parse_config({"data": {"train": "images"}, "training": {"epochs": 11}}) != CONFIG


def test_layer_forms():
    assert LayerSpec.model_validate("Flatten") == LayerSpec(name="Flatten", arguments={})
    assert LayerSpec.model_validate({"MaxPool2D": 2}) == LayerSpec(
        name="MaxPooling2D", arguments={"pool_size": 2}
    )
    assert LayerSpec.model_validate("Flatten").model_dump() == "Flatten"
    assert LayerSpec.model_validate({"Dropout": 0.5}).model_dump() == {"Dropout": {"rate": 0.5}}


def test_optimizer_forms():
    assert OptimizerSpec.model_validate("rmsprop") == OptimizerSpec(name="RMSprop", arguments={})
    given = {"name": "RMSprop", "learning_rate": 0.1}
    assert OptimizerSpec.model_validate(given) == OptimizerSpec(
        name="RMSprop", arguments={"learning_rate": 0.1}
    )
    assert OptimizerSpec.model_validate(given).model_dump() == {"name": "rmsprop", "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("given", "changes_nothing"),
    [
        ({}, True),
        ({"cval": 5, "fill_mode": "wrap"}, True),
        ({"horizontal_flip": True}, False),
        ({"zoom_range": 0.1}, False),
    ],
)
def test_augmentation_that_changes_nothing(given, changes_nothing):
    assert AugmentationConfig(**given).changes_nothing is changes_nothing


@pytest.mark.parametrize(("mode", "channels"), [("rgb", 3), ("rgba", 4), ("grayscale", 1)])
def test_image_shape(mode, channels):
    config = parse_config({"data": {"train": "x", "color_mode": mode, "target_size": [32, 64]}})
    assert config.data.image_shape == (32, 64, channels)
