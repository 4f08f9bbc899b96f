"""The page: what stands in it, how large it becomes, and that hostile names stay text."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from imgtrain.errors import RunFileError
from imgtrain.evaluation.metrics import score
from imgtrain.evaluation.predictions import Predictions, render_predictions
from imgtrain.report.facts import load_facts
from imgtrain.report.gallery import choose_images
from imgtrain.report.page import Pictures, render_page

EVIL = "<script>alert(1)</script>"


def make_run(path, *, images, class_count, names=None, seed=0):
    """Write a run directory with predictions that nobody made."""
    rng = np.random.default_rng(seed)
    names = names or tuple(f"class {number:03d}" for number in range(class_count))
    labels = rng.integers(0, class_count, images).astype(np.int32)
    logits = rng.normal(size=(images, class_count)) + 2.0 * np.eye(class_count)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    predicted = probabilities.argmax(axis=1).astype(np.int32)
    paths = tuple(f"{names[label]}/{number:06d}.jpg" for number, label in enumerate(labels))
    predictions = Predictions(paths, labels, probabilities, predicted, 0.7, names)
    guesses = np.zeros(images, np.int32)
    scores = score(predictions, baselines={"majority_class": guesses})
    path.mkdir()
    (path / "predictions-test.csv").write_text(render_predictions(predictions))
    (path / "metrics.json").write_text(json.dumps({"test": scores}))
    listed = [
        {"path": name, "class": names[label], "digest": f"{number % 50:032x}"}
        for number, (name, label) in enumerate(zip(paths, labels, strict=True))
    ]
    splits = {
        "train": {
            "folder": "/data/train",
            "images": listed[:60],
            "skipped": [{"path": EVIL, "reason": "empty file"}],
        },
        "test": {"folder": "/data/test", "images": listed[25:], "skipped": []},
    }
    (path / "data.json").write_text(json.dumps({"fingerprint": "sha256:0", "splits": splits}))
    (path / "run.json").write_text(
        json.dumps({"status": "completed", "best_epoch": 2, "versions": {"imgtrain": "0"}})
    )
    (path / "history.csv").write_text(
        "epoch,seconds,loss,val_loss,learning_rate\n1,1,0.9,0.8,0.1\n2,1,0.5,0.4,0.1\n3,1,0.3,0.6,0.1\n"
    )
    (path / "config.yaml").write_text("data:\n  train: train\n")
    return predictions


def render(path, predictions, *, side=150):
    rng = np.random.default_rng(1)
    gallery = choose_images(predictions)

    # Smooth colors and a little noise: about as hard to compress as photographs.
    def photo():
        coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((side, side)), np.int16)
        return np.clip(smooth + rng.integers(-12, 13, (side, side, 3)), 0, 255).astype(np.uint8)

    pixels = {row: photo() for row in gallery.rows()}
    heat = {row: rng.random((side, side)).astype(np.float32) for row in gallery.explained()}
    return render_page(load_facts(path), Pictures(gallery, pixels, heat))


@pytest.mark.parametrize("class_count", [2, 10, 131])
def test_ten_thousand_images_stay_below_5_mb(tmp_path, class_count):
    predictions = make_run(tmp_path / "run", images=10_000, class_count=class_count)
    page = render(tmp_path / "run", predictions)
    assert len(page.encode()) < 5_000_000
    assert page.count("data:image/webp") > 60


def test_names_from_outside_stay_text(tmp_path):
    names = (EVIL, "</script>", '" onload="x')
    predictions = make_run(tmp_path / "run", images=120, class_count=3, names=names)
    page = render(tmp_path / "run", predictions, side=16)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    # Nothing but our own two scripts, and nothing that the page could fetch.
    assert len(re.findall(r"<script\b", page)) == len(re.findall(r"</script>", page)) == 2
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_scores_of_validation_images_are_not_said_to_be_those_of_others(tmp_path):
    predictions = make_run(tmp_path / "run", images=100, class_count=2)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run/metrics.json").write_text(json.dumps({"validation": metrics["test"]}))
    page = render(tmp_path / "run", predictions, side=16)
    assert "Validation accuracy" in page
    assert "Training may have chosen the best epoch on these images" in page
    assert "Of other images of the same kind" not in page


def test_why_an_interval_is_missing_is_on_the_page(tmp_path):
    predictions = make_run(tmp_path / "run", images=100, class_count=2)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    metrics["test"] |= {"accuracy_grouped_ci95": None, "interval_notes": ["all images belong to one group"]}
    (tmp_path / "run/metrics.json").write_text(json.dumps(metrics))
    page = render(tmp_path / "run", predictions, side=16)
    assert "(too few groups for a CI, 100 images)" in page
    assert "No interval (–): all images belong to one group." in page


def test_the_page_says_what_the_numbers_mean(tmp_path):
    predictions = make_run(tmp_path / "run", images=400, class_count=3)
    page = render(tmp_path / "run", predictions, side=16)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    low, high = scores["accuracy_ci95"]
    interval = f"95 % CI {100 * low:.1f}–{100 * high:.1f} %"
    assert f"Test accuracy {100 * scores['accuracy']:.1f} % ({interval}, 400 images)" in page
    assert f"between {100 * low:.0f} % and {100 * high:.0f} % would be classified correctly" in page
    model = f"{100 * scores['accuracy']:.1f} % is significantly better than"
    assert f"{model} always predicting the most frequent class" in page
    # 375 test images of 50 pictures; 60 training images hold them all.
    assert re.search(r"Exact duplicates within the split</th><td[^>]*>10</td><td[^>]*>325</td>", page)
    assert re.search(r"Exact duplicates of training images</th><td[^>]*>–</td><td[^>]*>375</td>", page)
    assert "best: epoch 2" in page
    assert "currentColor" in page


def test_the_gallery_is_bounded_and_its_first_mistakes_are_the_most_confident(tmp_path):
    predictions = make_run(tmp_path / "run", images=3000, class_count=40)
    gallery = choose_images(predictions)
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    surest = wrong[predictions.probabilities[wrong].max(axis=1).argmax()]
    assert gallery.mistakes[0] == surest
    assert len(gallery.rows()) < 420
    for (truth, chosen), rows in gallery.cells.items():
        assert len(rows) <= 12
        for row in rows:
            assert (predictions.labels[row], predictions.predicted[row]) == (truth, chosen)


def test_the_page_needs_no_tensorflow(tmp_path, imported_modules):
    make_run(tmp_path / "run", images=60, class_count=3)
    code = (
        "from pathlib import Path\nfrom imgtrain.report.facts import load_facts\n"
        f"from imgtrain.report.page import render_page\nrender_page(load_facts(Path({str(tmp_path / 'run')!r})), None)"
    )
    assert not imported_modules(code) & {"tensorflow", "keras"}


def test_the_extension_of_a_file_is_never_on_a_line_of_its_own(tmp_path):
    predictions = make_run(tmp_path / "run", images=60, class_count=3)
    long = "IMG_20190412_103311_HDR_edited.jpg"
    paths = tuple(f"class/{number:02d}-{long if number % 2 else 'a.jpg'}" for number in range(60))
    predictions = dataclasses.replace(predictions, paths=paths)
    (tmp_path / "run/predictions-test.csv").write_text(render_predictions(predictions))
    page = render(tmp_path / "run", predictions, side=8)
    ends = set(re.findall(r'<wbr><span class="tail">(.*?)</span>', page))
    assert "ited.jpg" in ends
    assert all(end == "ited.jpg" or re.fullmatch(r"\d\d-a\.jpg", end) for end in ends)


@pytest.mark.parametrize(
    ("names", "upright"), [(("cat", "dog", "fish"), False), (("glioma_tumor", "meningioma_tumor"), True)]
)
def test_column_headings_are_upright_where_they_would_not_fit(tmp_path, names, upright):
    predictions = make_run(tmp_path / "run", images=60, class_count=len(names), names=names)
    page = render(tmp_path / "run", predictions, side=8)
    assert ('<table class="matrix upright">' in page) == upright


LATENCY = {"1": {"median_ms": 1.25}, "32": {"median_ms": 40.5}}
EXPORTED = {
    "size_bytes": 2_500_000, "accuracy": 0.9, "accuracy_difference_ci95": [-0.0125, 0.02], "equal_decisions": 0.995,
    "latency": {"keras": LATENCY, "exported": LATENCY},
}  # fmt: skip


def test_exported_models_are_listed_with_their_figures(tmp_path):
    predictions = make_run(tmp_path / "run", images=60, class_count=2)
    assert "Exported models" not in render(tmp_path / "run", predictions, side=16)
    (tmp_path / "run" / "export.json").write_text(json.dumps({"model.onnx": EXPORTED, EVIL: EXPORTED}))
    page = render(tmp_path / "run", predictions, side=16)
    assert EVIL not in page
    row = re.search(r'<th scope="row">model\.onnx</th>(.*?)</tr>', page, re.DOTALL).group(1)
    cells = re.findall(r'<td class="number">(.*?)</td>', row)
    assert cells[:4] == ["2.4 MiB", "0.900", "[-0.013, 0.020]", "99.50 %"]
    assert cells[4:] == ["1.25 ms (Keras 1.25 ms)", "40.50 ms (Keras 40.50 ms)"]


@pytest.mark.parametrize(
    ("figures", "place"),
    [
        (None, "model.onnx"),
        ({**EXPORTED, "accuracy": "high"}, "model.onnx.accuracy"),
        (
            {**EXPORTED, "latency": {"keras": LATENCY, "exported": {"1": LATENCY["1"]}}},
            "model.onnx.latency.exported.32",
        ),
    ],
)
def test_damaged_figures_of_an_exported_model_are_named(tmp_path, figures, place):
    make_run(tmp_path / "run", images=10, class_count=2)
    file = tmp_path / "run" / "export.json"
    file.write_text(json.dumps({"model.onnx": figures}))
    with pytest.raises(
        RunFileError, match=rf"export\.json: is corrupt: {re.escape(place)}: .*\n.*export again"
    ):
        load_facts(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("metrics.json", {"test": {"accuracy": 0.5}}, "test.images"),
        ("metrics.json", {"test": 3}, "test"),
        ("metrics.json", [], ""),
        ("run.json", {"versions": "2.0"}, "versions"),
        ("run.json", {"best_epoch": "last"}, "best_epoch"),
        ("data.json", {"splits": {"test": []}}, "splits.test"),
        (
            "data.json",
            {"fingerprint": "x", "splits": {"test": {"folder": "a", "skipped": []}}},
            "splits.test.images",
        ),
    ],
)
def test_a_file_of_the_run_with_another_content_is_an_error_that_names_it(tmp_path, name, content, place):
    make_run(tmp_path / "run", images=10, class_count=2)
    (tmp_path / "run" / name).write_text(json.dumps(content))
    with pytest.raises(RunFileError, match=rf"{re.escape(name)}: .*{re.escape(place)}"):
        load_facts(tmp_path / "run")
