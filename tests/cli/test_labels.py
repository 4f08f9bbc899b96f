"""Every command on images whose labels are in a CSV file or in their names."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

NETWORK = """
model: {layers: [{Conv2D: {filters: 4, kernel_size: 3, activation: relu}}, Flatten]}
training: {epochs: 1, seed: 3}
"""
DATA = "target_size: [16, 16], class_mode: binary, batch_size: 8"
CSV = f"data: {{train: images, labels: {{file: labels.csv, label: what}}, {DATA}}}\n{NETWORK}"
PATTERN = f"data: {{train: images, label_pattern: '^([a-z]+)\\.', validation_split: 0.25, {DATA}}}\n{NETWORK}"
FOLDERS = (
    f"data: {{train: folders/train, validation: folders/validation, test: folders/test, {DATA}}}\n{NETWORK}"
)

COUNTS = {"train": 12, "validation": 4, "test": 6}


@pytest.fixture(scope="module")
def flat(tmp_path_factory, make_folders):
    """One folder of images, a CSV file without suffixes beside it, and the same images in class folders."""
    root = tmp_path_factory.mktemp("flat")
    splits = {split: dict.fromkeys(("bright", "dark"), count) for split, count in COUNTS.items()}
    make_folders(root / "folders", splits)
    (root / "images").mkdir()
    rows = []
    for file in sorted((root / "folders").rglob("*.png")):
        split, name = file.parts[-3:-1]
        shutil.copy(file, root / "images" / f"{name}.{split}.{file.name}")
        rows.append((f"{name}.{split}.{file.stem}", 7, name, split))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image_id", "age", "what", "split"), *rows])
    for name, text in (("c", CSV), ("p", PATTERN), ("f", FOLDERS)):
        (root / f"{name}.yaml").write_text(text)
    return root


@pytest.fixture(scope="module")
def run(flat, imgtrain):
    done = imgtrain("train", "c.yaml", cwd=flat)
    assert done.returncode == 0, done.stderr
    assert "labels.csv: paths from column 'image_id', labels from column 'what', splits from" in done.stderr
    return flat / "runs" / "c"


def test_the_images_are_those_of_class_folders(flat):
    from imgtrain.config import load_config
    from imgtrain.dataset.split import split_data
    from imgtrain.pixels.load_images import load_images

    configs = [load_config(flat / f"{name}.yaml") for name in "cf"]
    fingerprints = {load_images(config, split_data(config)).fingerprint() for config in configs}
    assert len(fingerprints) == 1


@pytest.mark.parametrize("name", ["c", "p"])
def test_check_audits_them(flat, imgtrain, name):
    done = imgtrain("check", f"{name}.yaml", "--json", "--no-timing", cwd=flat)
    report = json.loads(done.stdout)
    assert sum(report["images"].values()) == 44
    assert not [finding for finding in report["findings"] if finding["code"] in ("layout", "stray")]
    said = "paths from column 'image_id'" in done.stdout
    assert said is (name == "c")


def test_check_proposes_a_split_file_that_goes_with_the_labels(flat, imgtrain):
    done = imgtrain("check", "p.yaml", "--fix-split", "splits.csv", "--no-timing", cwd=flat)
    assert "wrote splits.csv: 44 images" in done.stdout
    options = ["--json", "--no-timing", "--set", f"data.split_file={flat}/splits.csv"]
    done = imgtrain("check", "p.yaml", *options, cwd=flat)
    assert sum(json.loads(done.stdout)["images"].values()) == 44


def test_check_and_init_take_the_csv_file(flat, imgtrain):
    report = json.loads(imgtrain("check", "labels.csv", "--json", cwd=flat).stdout)
    # The only other column with a common name is the split; `age` and `what` could both be the label.
    assert report["findings"][0]["code"] == "layout"
    text = (flat / "labels.csv").read_text()
    (flat / "named.csv").write_text(text.replace("what", "label", 1))
    report = json.loads(imgtrain("check", "named.csv", "--json", cwd=flat).stdout)
    assert report["images"] == {"train": 24, "validation": 8, "test": 12}
    done = imgtrain("init", "named.csv", "-o", "new.yaml", cwd=flat)
    assert done.returncode == 0, done.stderr
    assert "    label: label  # column\n    split: split  # column\n" in (flat / "new.yaml").read_text()
    done = imgtrain("train", "named.csv", cwd=flat)
    assert done.returncode == 2
    assert "is a CSV file, not a configuration\n    create a configuration" in done.stderr


@pytest.mark.parametrize("name", ["c", "p"])
def test_preview_draws_them(flat, imgtrain, tmp_path, name):
    done = imgtrain("preview-aug", f"{name}.yaml", "-o", tmp_path / "x.png", "-n", 1, "-m", 2, cwd=flat)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_run_is_scored_and_repeated_like_any_other(flat, imgtrain, run, tmp_path):
    rows = list(csv.DictReader((run / "predictions-test.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == [
        f"{name}.test.{number:03d}.png" for name in ("bright", "dark") for number in range(6)
    ]
    assert {row["true"] for row in rows[:6]} == {"bright"}

    # The model file does not know which images are test images; the configuration of its run does.
    done = imgtrain("evaluate", "runs/c", "--output", tmp_path / "again", "--json", cwd=flat)
    assert done.returncode == 0, done.stderr
    trained = json.loads((run / "metrics.json").read_text())["test"]
    assert json.loads(done.stdout)["evaluation"]["confusion_matrix"] == trained["confusion_matrix"]

    for command in (["compare", "runs/c", "runs/c"], ["report", "runs/c"]):
        done = imgtrain(*command, cwd=flat)
        assert done.returncode == 0, done.stderr
    assert "does not show" not in done.stderr

    done = imgtrain("train", "c.yaml", "--resume", "--set", "training.epochs=2", cwd=flat)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "run.json").read_text())["epochs_run"] == 2

    shutil.copy(run / "model.keras", tmp_path / "alone.keras")
    done = imgtrain("evaluate", tmp_path / "alone.keras", cwd=flat)
    assert done.returncode == 2
    assert "--config CONFIG" in done.stderr


@pytest.mark.slow
@pytest.mark.tensorflow
def test_another_label_of_an_image_is_no_resumption(flat, imgtrain, run, tmp_path):
    changed = tmp_path / "labels.csv"
    text = (flat / "labels.csv").read_text()
    changed.write_text(text.replace("000,7,bright,train", "000,7,dark,train"))
    done = imgtrain(
        "train",
        "c.yaml",
        "--resume",
        "--set",
        "training.epochs=9",
        "--set",
        f"data.labels.file={changed}",
        cwd=flat,
    )
    assert done.returncode == 3
    assert "train: of 24 images 1 changed, first bright.train.000.png" in done.stderr
