"""`imgtrain init`: a folder of images becomes a configuration that loads and fits what was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from repository import REPOSITORY

from imgtrain.config import Config, load_config
from imgtrain.dataset.plan import make_plan
from imgtrain.dataset.propose import propose_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import ConfigError, DataError

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


@pytest.mark.parametrize(("size", "pools"), [(32, 4), (64, 5), (100, 5), (224, 5)])
def test_no_more_pooling_than_the_size_allows(tmp_path, size, pools):
    fill(tmp_path / "pets", ["cat", "dog"], size=(size, size))
    _, config = propose(tmp_path / "pets")
    assert [layer.name for layer in config.model.layers].count("MaxPooling2D") == pools
    assert size >> pools >= 2


@pytest.mark.parametrize(("images", "rate"), [(40, 0.002), (400, 0.003), (1200, 0.004)])
def test_the_learning_rate_follows_the_batch_size(tmp_path, images, rate):
    fill(tmp_path / "pets", {"cat": images // 2, "dog": images // 2}, size=(8, 8))
    _, config = propose(tmp_path / "pets")
    optimizer = config.training.optimizer
    assert (optimizer.name, optimizer.arguments["convolutions"]) == ("Muon", True)
    assert optimizer.arguments["learning_rate"] == rate
    assert config.data.batch_size == {0.002: 16, 0.003: 32, 0.004: 64}[rate]


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


def draw(*files: Path) -> None:
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number % 256, 0, 0)).save(file)


def classes_of(config: Config) -> tuple[str, ...]:
    return split_data(config).class_names


def test_nested_folders_offer_both_ways(tmp_path):
    for split in ("train", "test"):
        for kind in ("Fruit/Apple", "Fruit/Pear", "Nut/Pea"):
            fill(tmp_path / "shop" / "Set" / split / kind, [""])
    # Found before any other folder.
    fill(tmp_path / "shop" / "more", ["Fruit", "Nut"])
    text, config = propose(tmp_path / "shop")
    assert (config.data.train.name, config.data.test.name, config.data.nested) == ("train", "test", "leaf")
    assert classes_of(config) == ("Fruit/Apple", "Fruit/Pear", "Nut/Pea")
    assert "\n  # nested: true  # instead, the classes are the first folders: Fruit, Nut\n" in text
    text = text.replace("  nested: leaf", "  nested: true")
    (tmp_path / "proposed.yaml").write_text(text)
    assert classes_of(load_config(tmp_path / "proposed.yaml")) == ("Fruit", "Nut")


def test_deeper_images_of_some_classes(tmp_path):
    fill(tmp_path / "pets", ["cat"])
    fill(tmp_path / "pets" / "dog", ["small", "large"])
    text, config = propose(tmp_path / "pets")
    assert config.data.nested is True
    assert classes_of(config) == ("cat", "dog")
    assert "# nested: leaf" in text


def test_the_same_classes_twice_are_two_data_sets(tmp_path):
    for name in "ab":
        fill(tmp_path / "pets" / name, ["cat", "dog"])
    with pytest.raises(DataError, match="several possible training folders"):
        propose_config(tmp_path / "pets", relative_to=tmp_path)


@pytest.mark.parametrize("source", ["", "train_images", "train.csv"])
def test_a_csv_file_beside_images(tmp_path, source):
    root = tmp_path / "retina"
    draw(
        *(root / "train_images" / f"id{number}.png" for number in range(9)), root / "test_images" / "id9.png"
    )
    (root / "train.csv").write_text(
        "id_code,diagnosis\n" + "".join(f"id{number},{number % 3}\n" for number in range(9))
    )
    (root / "sample_submission.csv").write_text("id_code,diagnosis\nid9,0\n")
    text, config = propose(root / source, tmp_path)
    assert config.data.train == root.resolve() / "train_images"
    assert config.data.label_file.file == root.resolve() / "train.csv"
    assert (config.data.label_file.path, config.data.label_file.label) == ("id_code", "diagnosis")
    assert (config.data.test, config.data.validation_split) == (None, 0.2)
    assert split_data(config).train.counts().tolist() == [3, 3, 3]
    assert "0 3, 1 3, 2 3" in text


def test_a_csv_file_with_splits(tmp_path):
    draw(*(tmp_path / "data" / "images" / f"{number}.png" for number in range(8)))
    rows = "".join(
        f"images/{number}.png,{'ab'[number % 2]},{'train' if number < 4 else 'val' if number < 6 else 'test'}\n"
        for number in range(8)
    )
    (tmp_path / "data" / "labels.csv").write_text("path,class,split\n" + rows)
    text, config = propose(tmp_path / "data")
    assert config.data.train.name == "images"
    assert config.data.validation_split is None
    assert [len(split) for split in split_data(config)] == [4, 2, 2]
    assert "No test folder" not in text


def test_several_csv_files(tmp_path):
    draw(*(tmp_path / "images" / f"{number}.png" for number in range(4)))
    for name in ("a.csv", "b.csv"):
        (tmp_path / "images" / name).write_text("file,label\n0,x\n1,x\n2,y\n3,y\n")
    with pytest.raises(DataError, match="several CSV files label its images"):
        propose_config(tmp_path / "images")


def test_class_folders_come_before_a_csv_file(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog"])
    (tmp_path / "pets" / "who.csv").write_text(
        "file,label\ncat/0.png,Ann\ncat/1.png,Bob\ndog/0.png,Ann\ndog/1.png,Bob\n"
    )
    text, config = propose(tmp_path / "pets")
    assert classes_of(config) == ("cat", "dog")
    assert "  # who.csv also labels images: `imgtrain init " in text
    assert classes_of(propose(tmp_path / "pets" / "who.csv", tmp_path)[1]) == ("Ann", "Bob")


@pytest.mark.parametrize(
    ("names", "pattern", "classes"),
    [
        (["cat.0", "cat.1", "dog.0", "dog.1"], r"(cat|dog)\.\d+", ("cat", "dog")),
        (["wild_cat_10", "wild_cat_9", "dog_1", "dog_2"], r"(dog|wild_cat)_\d+", ("dog", "wild_cat")),
        (["a (1)", "a (2)", "b (1)", "b (2)"], None, ("a", "b")),
        (["01_yes", "02_no", "03_yes", "04_no"], None, ("no", "yes")),
    ],
)
def test_labels_in_file_names(tmp_path, names, pattern, classes):
    draw(*(tmp_path / "images" / f"{name}.png" for name in names))
    _, config = propose(tmp_path / "images")
    assert classes_of(config) == classes
    assert split_data(config).train.counts().tolist() == [2, 2]
    assert pattern in (None, config.data.label_pattern)


@pytest.mark.parametrize(
    "names", [["IMG_1", "IMG_2", "IMG_3", "IMG_4"], ["p1_1", "p1_2", "p2_1", "p2_2"], ["x", "y"]]
)
def test_numbers_are_not_labels(tmp_path, names):
    draw(*(tmp_path / "images" / f"{name}.png" for name in names))
    with pytest.raises(DataError) as caught:
        propose_config(tmp_path / "images")
    assert "set `data.labels` to a CSV file with the labels, or `data.label_pattern`" in str(caught.value)


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


def test_a_backbone_replaces_the_proposed_layers(tmp_path):
    fill(tmp_path / "pets", ["cat", "dog", "fish"], images=5)
    (tmp_path / "pets.yaml").write_text(propose_config(tmp_path / "pets", tmp_path, backbone="ResNet50"))
    config = make_plan(load_config(tmp_path / "pets.yaml")).config
    assert config.model.backbone.name == "ResNet50"
    assert config.data.size == (224, 224)
    assert config.preprocessing.rescale == 1
    with pytest.raises(ConfigError, match="did you mean 'ResNet50'") as caught:
        propose_config(tmp_path / "pets", backbone="resnet50")
    assert caught.value.problems[0].where == "--backbone"
