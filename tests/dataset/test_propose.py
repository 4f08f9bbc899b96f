"""`imgtrain init`: a folder of images becomes a configuration that loads and fits what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from repository import REPOSITORY

from imgtrain.config import Config, load_config
from imgtrain.dataset.propose import propose_config
from imgtrain.errors import DataError

DATA = REPOSITORY.parent / "shared/data"


def fill(folder: Path, classes, *, images: int = 3, size=(40, 40), mode: str = "RGB") -> None:
    """Make class folders; `classes` may be a mapping of names to numbers of images, `size` is (width, height)."""
    counts = classes if isinstance(classes, dict) else dict.fromkeys(classes, images)
    for name, number in counts.items():
        (folder / name).mkdir(parents=True)
        for image in range(number):
            Image.new(mode, size).save(folder / name / f"{image}.png")


def propose(folder: Path, written_to: Path | None = None) -> tuple[str, Config]:
    written_to = written_to or folder.parent
    text = propose_config(folder, relative_to=written_to)
    (written_to / "proposed.yaml").write_text(text, encoding="utf-8")
    return text, load_config(written_to / "proposed.yaml")


def test_one_folder_of_classes(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog", "fish"])
    text, config = propose(tmp_path / "pets")
    assert config.data.train == tmp_path.resolve() / "pets"
    assert config.data.validation_split == 0.2
    assert config.data.test is None
    assert config.data.class_mode == "categorical"
    assert config.data.target_size == (40, 40)
    assert "  train: pets\n" in text
    assert "No test folder" in text
    assert "cat 3, dog 3, fish 3" in text


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "Validation", "Testing"), ("training_set", "dev", "EVAL")],
)
def test_usual_names_in_any_case(tmp_path, train, validation, test):
    for name in (train, validation, test):
        fill(tmp_path / "scans" / name, ["no", "yes"])
    text, config = propose(tmp_path / "scans")
    assert [path.name for path in (config.data.train, config.data.validation, config.data.test)] == [
        train,
        validation,
        test,
    ]
    assert config.data.validation_split is None
    assert "No test folder" not in text
    assert "no validation folder" not in text


def test_train_and_test_without_validation(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / "scans" / name, ["a", "b", "c"])
    _, config = propose(tmp_path / "scans")
    assert (config.data.validation, config.data.validation_split) == (None, 0.2)
    assert config.data.test.name == "test"


def test_one_level_deeper(tmp_path):
    fill(tmp_path / "download" / "Dataset", ["ant", "bee", "fly"])
    _, config = propose(tmp_path / "download")
    assert config.data.train.name == "Dataset"
    fill(tmp_path / "other" / "Dataset" / "train", ["ant", "bee", "fly"])
    fill(tmp_path / "other" / "Dataset" / "test", ["ant", "bee", "fly"])
    _, config = propose(tmp_path / "other")
    assert (config.data.train.name, config.data.test.name) == ("train", "test")


def test_two_classes_are_binary(tmp_path):
    fill(tmp_path / "scans", ["healthy", "sick"])
    text, config = propose(tmp_path / "scans")
    assert config.data.class_mode == "binary"
    assert "sick is the positive class" in text
    assert "# classes: [sick, healthy]" in text


@pytest.mark.parametrize(
    ("classes", "flip"),
    [
        (["0", "1", "2", "10"], False),
        (["A", "b", "C"], False),
        (["one", "two", "three"], False),
        (["turn_left", "turn_right", "stop"], False),
        (["arrow-up", "stop"], False),
        (["cat", "dog"], True),
        (["cleft", "bright", "dull"], True),
    ],
)
def test_no_flip_where_mirrored_means_something_else(tmp_path, classes, flip):
    fill(tmp_path / "signs", classes)
    text, config = propose(tmp_path / "signs")
    assert config.augmentation.horizontal_flip is flip
    assert config.evaluation.flip_average is flip
    line = next(line for line in text.splitlines() if "horizontal_flip" in line)
    assert ("flipped" in line) is not flip  # ("horizontal_flip")[1].split("\n")[0]) is not flip


@pytest.mark.parametrize(
    ("size", "target_size"),
    [((100, 100), (100, 100)), ((20, 28), (32, 32)), ((1024, 768), (160, 224)), ((3000, 300), (32, 224))],
)
def test_the_target_size_follows_the_images(tmp_path, size, target_size):
    fill(tmp_path / "pets", ["cat", "dog"], size=size)
    text, config = propose(tmp_path / "pets")
    assert config.data.target_size == target_size
    assert f"height {size[1]} and width {size[0]}" in text


def test_mixed_sizes_become_square(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"], size=(90, 60))
    fill(tmp_path / "pets", ["fish"], size=(60, 120))
    text, config = propose(tmp_path / "pets")
    assert config.data.target_size == (60, 60)
    assert "height 60 to 120, width 60 to 90" in text


def test_sizes_are_as_shown_not_as_stored(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"])
    for file in (tmp_path / "pets").rglob("*.png"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (80, 48)).save(file, exif=exif)
    assert propose(tmp_path / "pets")[1].data.target_size == (80, 48)


def test_grey_images(tmp_path):
    fill(tmp_path / "scans", ["a", "b"], mode="L")
    assert propose(tmp_path / "scans")[1].data.color_mode == "grayscale"
    fill(tmp_path / "scans", ["c"], mode="RGB")
    assert propose(tmp_path / "scans")[1].data.color_mode == "rgb"


@pytest.mark.parametrize(("size", "pools"), [(32, 3), (64, 4), (100, 5), (224, 5)])
def test_no_more_pooling_than_the_size_allows(tmp_path, size, pools):
    fill(tmp_path / "pets", ["cat", "dog"], size=(size, size))
    _, config = propose(tmp_path / "pets")
    assert [layer.name for layer in config.model.layers].count("MaxPooling2D") == pools
    assert size >> pools >= 3


def test_weights_where_one_class_is_small(tmp_path):
    fill(tmp_path / "even", {"cat": 6, "dog": 2})
    assert propose(tmp_path / "even")[1].training.class_weight is None
    fill(tmp_path / "uneven", {"cat": 7, "dog": 2})
    text, config = propose(tmp_path / "uneven")
    assert config.training.class_weight == "balanced"
    assert "largest class has 7 images, the smallest 2" in text


def test_paths_lead_from_where_the_file_is_written(tmp_path):
    fill(tmp_path / "data" / "pets", ["cat", "dog"])
    (tmp_path / "configs").mkdir()
    text, config = propose(tmp_path / "data" / "pets", tmp_path / "configs")
    assert "  train: ../data/pets\n" in text
    assert config.data.train == tmp_path.resolve() / "data" / "pets"


def test_awkward_names(tmp_path):
    awkward = 'no: "1" #\n\x1b[31m'
    fill(tmp_path / awkward, ["a: b\n- c", "no"])
    text, config = propose(tmp_path / awkward, tmp_path)
    assert config.data.train == tmp_path.resolve() / awkward
    assert "\x1b" not in text


def test_a_file_that_does_not_open_is_skipped_and_told(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"])
    (tmp_path / "pets" / "cat" / "broken.jpg").write_bytes(b"no image")
    text, config = propose(tmp_path / "pets")
    assert config.data.on_bad_image == "skip"
    assert "1 file of 7 inspected cannot be opened" in text


def test_what_is_commented_out_would_be_valid(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"])
    text, _ = propose(tmp_path / "pets")
    head, body = text.split("\n\n", 1)
    lines = [line.replace("# ", "", 1) if _is_commented_key(line) else line for line in body.splitlines()]
    # Two of them stand for each other.
    lines = [line for line in lines if "FOLDER" not in line and not line.startswith("  class_mode")]
    uncommented = tmp_path / "uncommented.yaml"
    uncommented.write_text("\n".join(lines))
    config = load_config(uncommented)
    assert config.augmentation.brightness_range == (0.8, 1.2)
    assert config.augmentation.color_jitter.saturation == 0.2
    assert config.evaluation.threshold == "f1"
    assert config.output.model == "model.h5"
    assert head.startswith("# Generated by")


def _is_commented_key(line: str) -> bool:
    text = line.strip().removeprefix("# ").strip()
    return line.strip().startswith("#") and ":" in text and " " not in text.split(":")[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: fill(folder, ["cat"]), "contains only one class, cat"),
        (lambda folder: fill(folder, {"cat": 3, "dog": 0}), "dog contains no images"),
        (
            lambda folder: [fill(folder / name / "train", ["cat", "dog"]) for name in "ab"],
            "several possible training folders",
        ),
        (lambda folder: folder.write_text("x"), "is a file, not a folder"),
    ],
)
def test_nothing_to_train_on(tmp_path, make, message):
    make(tmp_path / "pets")
    with pytest.raises(DataError) as caught:
        propose_config(tmp_path / "pets", relative_to=tmp_path)
    assert message in str(caught.value)


def test_only_broken_files(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"])
    for file in (tmp_path / "pets").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 6 files"):
        propose_config(tmp_path / "pets", relative_to=tmp_path)


@pytest.mark.parametrize(
    ("name", "train", "size", "flip"),
    [
        ("sign-digits", "Dataset", (96, 96), False),
        ("trashnet-150", "trashnet-150", (96, 96), True),
        ("fruit-mini", "train", (160, 224), True),
    ],
)
@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_real_folders(tmp_path, monkeypatch, name, train, size, flip):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    _, config = propose(DATA / name, tmp_path)
    assert config.data.train.resolve() == (DATA / name).resolve() / ("" if train == name else train)
    assert config.data.target_size == size
    assert config.augmentation.horizontal_flip is flip
