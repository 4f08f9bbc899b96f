"""The backbone in the configuration, checked without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imgtrain.config.backbone import check_backbone, with_backbone_pixels
from imgtrain.config.fine_tuning import check_fine_tuning, fine_tuning_config
from imgtrain.config.load import load_config, parse_config
from imgtrain.config.render import render_config
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError


def make_config(backbone: Any, **sections: Any) -> Config:
    data = {"train": "x", "target_size": [64, 64], **sections.pop("data", {})}
    config = parse_config({"data": data, "model": {"backbone": backbone}, **sections})
    return with_backbone_pixels(config)


@pytest.mark.parametrize(
    ("backbone", "where", "what", "hint"),
    [
        ({}, "model.backbone", "requires name or from", "use `{name: ResNet50}`"),
        ({"name": "Resnet50"}, "model.backbone.name", "unknown network 'Resnet50'", "'ResNet50'"),
        ({"name": "Transformer"}, "model.backbone.name", "unknown network", "allowed: ConvNeXtBase, "),
        ({"name": "VGG16", "from": "x"}, "model.backbone.from", "mutually exclusive", "remove one"),
        ({"name": "VGG16", "trainable": 3}, "model.backbone.trainable", "true, false or the name of", ""),
        ({"name": "VGG16", "pooling": "sum"}, "model.backbone.pooling", "must be avg or max", ""),
        ({"name": "VGG16", "weights": 3}, "model.backbone.weights", "imagenet, a path or null", ""),
        ({"name": "VGG16", "weigths": "x"}, "model.backbone.weigths", "unknown key", "'weights'"),
        ("VGG16", "model.backbone", "must be a mapping with the keys name, from, weights", ""),
    ],
)
def test_a_faulty_backbone_is_one_problem(backbone: Any, where: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(backbone)
    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what
    assert hint in problem.hint


def test_a_network_among_the_layers_names_the_backbone() -> None:
    with pytest.raises(ConfigError, match=r"not a layer") as caught:
        parse_config({"data": {"train": "x"}, "model": {"layers": ["ResNet50"]}})
    assert caught.value.problems[0].hint == "use `model.backbone: {name: ResNet50}`"


def test_the_written_configuration_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cats.yaml"
    path.write_text(
        "data: {train: x}\nmodel: {backbone: {name: ResNet50, weights: w.h5, trainable: conv5_block1_1_conv}}\n"
    )
    config = with_backbone_pixels(load_config(path))
    backbone = config.model.backbone
    assert backbone is not None
    # Paths are relative to the file, but `imagenet` is not a path.
    assert backbone.weights == tmp_path / "w.h5"
    assert [layer.name for layer in config.model.layers] == ["Dropout"]
    again = tmp_path / "again.yaml"
    again.write_text(render_config(config))
    assert load_config(again) == config
    imagenet = load_config(again, ["model.backbone.weights=imagenet"]).model.backbone
    assert imagenet is not None
    assert imagenet.weights == "imagenet"


def test_from_is_a_path_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "cats.yaml"
    path.write_text("data: {train: x}\nmodel: {backbone: {from: ../runs/dogs}}\n")
    config = load_config(path)
    assert config.model.backbone is not None
    assert config.model.backbone.source == tmp_path.parent / "runs" / "dogs"
    (tmp_path / "again.yaml").write_text(render_config(config))
    assert load_config(tmp_path / "again.yaml") == config
    assert "imagenet" not in render_config(config)


def test_images_too_small_for_the_network() -> None:
    config = make_config({"name": "Xception"}, data={"target_size": [64, 80]})
    (problem,) = check_backbone(config)
    assert problem.where == "data.target_size"
    assert problem.what == "Xception needs images of at least 71×71; got [64, 80]"
    assert "[71, 80]" in problem.hint


def test_four_channels() -> None:
    (problem,) = check_backbone(make_config({"name": "ResNet50"}, data={"color_mode": "rgba"}))
    assert problem.where == "data.color_mode"
    assert "three channels" in problem.what


def test_without_rescale_the_backbone_gets_raw_pixels() -> None:
    config = make_config({"name": "ResNet50"})
    assert config.preprocessing.rescale == 1
    assert check_backbone(config) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("EfficientNetB0", "EfficientNetB0 takes raw pixels"),
        ("MobileNetV2", "MobileNetV2 takes pixels from -1 to 1, which are computed inside the model"),
    ],
)
def test_other_preprocessing_beside_the_backbone(name: str, reason: str) -> None:
    given = {"rescale": "1/255", "featurewise_center": True}
    problems = check_backbone(make_config({"name": name}, preprocessing=given))
    assert [problem.where for problem in problems] == [
        "preprocessing.rescale",
        "preprocessing.featurewise_center",
    ]
    assert problems[0].what == f"{reason}; rescale would be applied in addition"
    assert problems[0].hint == "remove preprocessing.rescale"


def test_missing_files(tmp_path: Path) -> None:
    (problem,) = check_backbone(make_config({"name": "ResNet50", "weights": str(tmp_path / "w.h5")}))
    assert (problem.where, "no such model file" in problem.what) == ("model.backbone.weights", True)
    (problem,) = check_backbone(make_config({"from": str(tmp_path)}))
    assert (problem.where, "without a .keras or .h5 model" in problem.what) == ("model.backbone.from", True)


@pytest.mark.parametrize(
    ("backbone", "training", "where", "what"),
    [
        (None, {}, "training.fine_tune", "requires a model.backbone"),
        ({"name": "VGG16", "trainable": True}, {}, "model.backbone.trainable", "must be false"),
        ({"name": "VGG16"}, {"minutes": 3}, "training.minutes", "cannot be combined"),
        (
            {"name": "VGG16"},
            {"schedule": {"name": "cosine", "warmup_epochs": 4}},
            "training.fine_tune.epochs",
            "must be more than training.schedule.warmup_epochs (4); got 4",
        ),
    ],
)
def test_fine_tuning_that_contradicts_other_options(
    backbone: Any, training: dict[str, Any], where: str, what: str
) -> None:
    config = make_config(backbone, training={"fine_tune": {"from": "all", "epochs": 4}, **training})
    (problem,) = check_fine_tuning(config)
    assert problem.where == where
    assert what in problem.what


def test_the_second_stage_has_its_own_epochs_and_learning_rate() -> None:
    schedule = {"name": "ExponentialDecay", "initial_learning_rate": 0.1, "decay_steps": 9, "decay_rate": 0.5}
    training = {"fine_tune": {"epochs": 7, "learning_rate": 1e-4}, "schedule": schedule}
    later = fine_tuning_config(make_config({"name": "VGG16"}, training=training)).training
    assert (later.epochs, later.optimizer.arguments, later.schedule) == (7, {"learning_rate": 1e-4}, None)
