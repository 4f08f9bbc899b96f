"""Compare two runs on the same test images: the difference, and when it is not significant."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from imgtrain.errors import DataError, RunFileError
from imgtrain.evaluation.compare import Candidate, compare
from imgtrain.evaluation.compare_runs import compare_runs
from imgtrain.evaluation.predictions import Predictions, render_predictions

NAMES = ("ant", "bee", "cow")


def make_run(
    path, labels, answers, *, names=NAMES, digests=None, order=None, prefix="", group_by=None, split="test"
):
    """Write the files of a run that `compare` reads, with rows and class names in any order."""
    path.mkdir()
    rows = np.arange(len(labels)) if order is None else order
    digests = [f"{number:032x}" for number in range(len(labels))] if digests is None else digests
    paths = [f"{NAMES[labels[row]]}/{prefix}{row:04d}.png" for row in rows]
    place = np.array([names.index(name) for name in NAMES])
    labels, answers = place[np.asarray(labels)[rows]], place[np.asarray(answers)[rows]]
    probabilities = np.eye(3, dtype=np.float32)[answers]
    predictions = Predictions(tuple(paths), labels, probabilities, answers, 0.0, names)
    (path / f"predictions-{split}.csv").write_text(render_predictions(predictions))
    images = [{"path": name, "digest": digests[row]} for name, row in zip(paths, rows, strict=True)]
    described = {"folder": str(path.parent / "data"), "images": images}
    (path / "data.json").write_text(json.dumps({"splits": {split: described}}))
    (path / "run.json").write_text("{}")
    (path.parent / "train").mkdir(exist_ok=True)
    grouping = f"\n  group_by: '{group_by}'" if group_by else ""
    (path / "config.yaml").write_text(f"data:\n  train: ../train{grouping}\n")
    return path


def answers_with(labels, wrong, seed):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(labels), wrong, replace=False)
    answers = labels.copy()
    answers[chosen] = (labels[chosen] + 1) % 3
    return answers


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 3, 400)


def test_a_run_is_the_same_as_itself(tmp_path, labels):
    run = make_run(tmp_path / "a", labels, answers_with(labels, 60, 1))
    comparison = compare_runs(run, run)
    assert comparison.verdict == "same"
    assert comparison.sentence.startswith("No difference")
    # No difference on these images does not exclude one on others.
    low, high = comparison.content["accuracy_difference_ci95"]
    assert -0.01 < low < 0 < high < 0.01
    assert comparison.content["mcnemar"]["p_value"] == 1


def test_images_are_matched_by_content_not_by_name_order_or_label_index(tmp_path, labels):
    answers = answers_with(labels, 60, 1)
    a = make_run(tmp_path / "a", labels, answers)
    shuffled = np.random.default_rng(5).permutation(400)
    b = make_run(tmp_path / "b", labels, answers, order=shuffled, prefix="copy-", names=("cow", "ant", "bee"))
    assert compare_runs(a, b).verdict == "same"


def test_a_significant_difference_is_reported_with_its_interval(tmp_path, labels):
    a = make_run(tmp_path / "a", labels, answers_with(labels, 100, 1))
    b = make_run(tmp_path / "b", labels, answers_with(labels, 40, 2))
    forth, back = compare_runs(a, b), compare_runs(b, a)
    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert forth.sentence.startswith("B is better than A by 15.0 points of accuracy, 95 % interval ")
    low, high = forth.content["accuracy_difference_ci95"]
    assert 0.08 < low < 0.15 < high < 0.22
    assert back.content["accuracy_difference_ci95"] == pytest.approx([-high, -low])
    only_a, only_b = (forth.content["mcnemar"][key] for key in ("only_a_right", "only_b_right"))
    assert only_b - only_a == 60
    # The binomial probability of a division at least as uneven.
    expected = 2 * binom.cdf(only_a, only_a + only_b, 0.5)
    assert forth.content["mcnemar"]["p_value"] == pytest.approx(expected)
    assert sum(row["only_b_right"] for row in forth.content["per_class"].values()) == only_b


def test_a_difference_within_chance_is_not_significant(tmp_path, labels):
    a = make_run(tmp_path / "a", labels, answers_with(labels, 60, 1))
    b = make_run(tmp_path / "b", labels, answers_with(labels, 55, 2))
    comparison = compare_runs(a, b)
    assert comparison.verdict == "cannot tell"
    low, high = comparison.content["accuracy_difference_ci95"]
    assert low < 0 < high
    p_value = comparison.content["p_value"]
    assert comparison.sentence == (
        "Cannot tell which is better: B is above A by 1.2 points; the 95 % interval of the difference "
        f"({100 * low:+.1f} to {100 * high:+.1f} points) includes 0 (McNemar's exact test: p = {p_value:.3g})."
    )


def test_the_paired_interval_is_narrower_than_that_of_independent_images(tmp_path, labels):
    answers = answers_with(labels, 100, 1)
    better = answers.copy()
    wrong = np.flatnonzero(answers != labels)[:12]
    better[wrong] = labels[wrong]
    a, b = make_run(tmp_path / "a", labels, answers), make_run(tmp_path / "b", labels, better)
    low, high = compare_runs(a, b).content["accuracy_difference_ci95"]
    # Only B is right on 12 of 400 images, only A on none: the standard deviation is √(0.03 · 0.97 / 400), not
    # √(2 · 0.25 · 0.75 / 400).
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.03 * 0.97 / 400), rel=0.15)


def test_groups_are_the_units_of_the_test(tmp_path, labels):
    # All ten images of a group differ in the same direction: 40 groups are weaker evidence than 400 images.
    rng = np.random.default_rng(3)
    right_a, right_b = np.repeat(rng.random((2, 40)) < [[0.7], [0.8]], 10, axis=1)
    answers_a, answers_b = (np.where(right, labels, (labels + 1) % 3) for right in (right_a, right_b))
    widths = []
    for name, group_by in (("single", None), ("grouped", r"/(\d{3})\d")):
        (tmp_path / name).mkdir()
        a = make_run(tmp_path / name / "a", labels, answers_a, group_by=group_by)
        b = make_run(tmp_path / name / "b", labels, answers_b, group_by=group_by)
        low, high = compare_runs(a, b).content["accuracy_difference_ci95"]
        widths.append(high - low)
    # Paths begin with the class; only the number identifies the group.
    assert widths[1] == pytest.approx(np.sqrt(10) * widths[0], rel=0.25)


def candidate(labels, right, groups=None):
    answers = np.where(right, labels, (labels + 1) % 3).astype(np.int32)
    paths = tuple(f"{number:04d}" for number in range(len(labels)))
    probabilities = np.eye(3, dtype=np.float32)[answers]
    predictions = Predictions(paths, labels.astype(np.int32), probabilities, answers, 0.0, NAMES, groups)
    return Candidate(
        "run", predictions, [(path, NAMES[label]) for path, label in zip(paths, labels, strict=True)]
    )


def test_the_sentence_names_the_reason_if_interval_and_test_disagree(labels):
    right_a, right_b = np.ones(400, bool), np.ones(400, bool)
    right_a[:22], right_b[100:110] = False, False
    comparison = compare(candidate(labels, right_a), candidate(labels, right_b), split="test")
    assert comparison.content["p_value"] == pytest.approx(2 * binom.cdf(10, 32, 0.5))
    low, high = comparison.content["accuracy_difference_ci95"]
    assert low > 0
    assert comparison.verdict == "cannot tell"
    assert comparison.sentence == (
        "Cannot tell which is better: B is above A by 3.0 points; the 95 % interval of the difference "
        f"({100 * low:+.1f} to {100 * high:+.1f} points) excludes 0, but McNemar's exact test gives p = 0.0501."
    )


def test_fewer_than_six_groups_are_never_significant(labels):
    # B is right wherever A is wrong: counting 400 images, this is significant.
    for count in (1, 2, 5, 6):
        groups = np.arange(400) % count
        right = np.random.default_rng(0).random(400) < 0.5
        a, b = candidate(labels, right, groups), candidate(labels, np.ones(400, bool), groups)
        comparison = compare(a, b, split="test")
        assert comparison.verdict == ("better" if count == 6 else "cannot tell"), count
        assert comparison.content["p_value"] == pytest.approx(min(1, 2 / 2**count))
        assert comparison.content["mcnemar"]["p_value"] is None
    assert (
        compare(candidate(labels, right), candidate(labels, np.ones(400, bool)), split="test").verdict
        == "better"
    )


def test_too_few_groups_are_named_as_the_reason(labels):
    groups = np.arange(400) // 100
    right = np.random.default_rng(0).random(400) < 0.5
    a, b = candidate(labels, right, groups), candidate(labels, np.ones(400, bool), groups)
    assert "4 groups that differ are too few" in compare(a, b, split="test").sentence
    one = np.zeros(400, np.intp)
    comparison = compare(
        candidate(labels, right, one), candidate(labels, np.ones(400, bool), one), split="test"
    )
    assert comparison.content["accuracy_difference_ci95"] is None
    assert comparison.sentence.endswith("; all images belong to one group.")


def test_groups_of_both_runs_are_joined_so_that_swapping_them_is_consistent(labels):
    rng = np.random.default_rng(0)
    right_a, right_b = rng.random(400) < 0.6, rng.random(400) < 0.8
    fine, coarse = np.arange(400) // 4, np.arange(400) // 100
    for groups_a, groups_b, count in ((fine, None, 100), (None, coarse, 4), (fine, coarse, 4)):
        a, b = candidate(labels, right_a, groups_a), candidate(labels, right_b, groups_b)
        forth, back = compare(a, b, split="test"), compare(b, a, split="test")
        assert forth.content["groups"] == back.content["groups"] == count
        assert {forth.verdict, back.verdict} in ({"better", "worse"}, {"cannot tell"})
        low, high = forth.content["accuracy_difference_ci95"]
        assert back.content["accuracy_difference_ci95"] == pytest.approx([-high, -low])
        assert forth.content["warnings"] == back.content["warnings"] != []


def test_groups_with_a_split_file_are_relative_to_each_folder(tmp_path, labels):
    # `imgtrain evaluate` matches paths relative to data.train and data.test, which both begin with the patient.
    right = np.random.default_rng(0).random(400) < 0.7
    runs = []
    for name, answers in (("a", labels), ("b", np.where(right, labels, (labels + 1) % 3))):
        run = make_run(tmp_path / name, labels, answers)
        renamed = {f"{NAMES[label]}/{row:04d}.png": f"{'tests' if row % 3 else 'more'}/p{row % 6}/{row:04d}.png"
                   for row, label in enumerate(labels)}  # fmt: skip
        for file in (run / "predictions-test.csv", run / "data.json"):
            text = file.read_text()
            for old, new in renamed.items():
                text = text.replace(old, new)
            file.write_text(text)
        (tmp_path / "splits.csv").touch()
        (run / "config.yaml").write_text(
            "data: {train: ../data/more, test: ../data/tests, split_file: ../splits.csv, group_by: '^(p[0-9]+)'}\n"
        )
        runs.append(run)
    assert compare_runs(*runs).content["groups"] == 6


def test_runs_without_test_images_are_compared_on_validation_with_a_warning(tmp_path, labels):
    a = make_run(tmp_path / "a", labels, answers_with(labels, 100, 1), split="validation")
    b = make_run(tmp_path / "b", labels, answers_with(labels, 40, 2), split="validation")
    comparison = compare_runs(a, b)
    assert (comparison.verdict, comparison.content["split"]) == ("better", "validation")
    (warning,) = comparison.content["warnings"]
    assert "Training may have chosen the best epoch on these images" in warning


def test_runs_with_predictions_of_different_splits_are_rejected_with_a_hint(tmp_path, labels):
    a = make_run(tmp_path / "a", labels, labels)
    b = make_run(tmp_path / "b", labels, labels, split="validation")
    with pytest.raises(RunFileError) as error:
        compare_runs(a, b)
    assert "has only predictions-test.csv" in str(error.value)
    assert "has only predictions-validation.csv" in str(error.value)
    assert "--data FOLDER" in str(error.value)


def test_different_test_images_are_rejected_with_the_differences(tmp_path, labels):
    a = make_run(tmp_path / "a", labels, labels)
    b = make_run(tmp_path / "b", labels[:390], labels[:390])
    with pytest.raises(DataError, match=r"10 of its 400 images are missing in") as error:
        compare_runs(a, b)
    assert "0390.png" in str(error.value)
    assert "--data FOLDER" in str(error.value)
    changed = labels.copy()
    changed[7] = (changed[7] + 1) % 3
    c = make_run(tmp_path / "c", changed, changed)
    with pytest.raises(DataError, match="1 of them have another class there"):
        compare_runs(a, c)


def test_duplicate_images_are_matched_one_to_one(tmp_path, labels):
    digests = [f"{number // 2:032x}" for number in range(400)]
    labels = np.repeat(labels[:200], 2)
    a = make_run(tmp_path / "a", labels, labels, digests=digests)
    assert compare_runs(a, a).verdict == "same"
    b = make_run(tmp_path / "b", labels[1:], labels[1:], digests=digests[1:])
    with pytest.raises(DataError, match="1 of its 400 images"):
        compare_runs(a, b)


def test_a_folder_without_a_run_is_an_error(tmp_path, labels):
    run = make_run(tmp_path / "a", labels, labels)
    with pytest.raises(RunFileError, match="not a run directory"):
        compare_runs(run, tmp_path)
    (run / "predictions-test.csv").unlink()
    with pytest.raises(RunFileError, match="has no predictions"):
        compare_runs(run, run)


def test_compare_does_not_import_tensorflow_and_prints_a_sentence_or_json(
    tmp_path, labels, imgtrain, imported_modules
):
    a = make_run(tmp_path / "a", labels, answers_with(labels, 100, 1))
    b = make_run(tmp_path / "b", labels, answers_with(labels, 40, 2))
    done = imgtrain("compare", a, b)
    assert done.returncode == 0, done.stderr
    assert "B is better than A by 15.0 points" in done.stdout
    printed = json.loads(imgtrain("compare", a, b, "--json").stdout)
    assert printed["verdict"] == "better"
    code = (
        "from pathlib import Path\nfrom imgtrain.workflows.compare import compare\n"
        f"compare(Path({str(a)!r}), Path({str(b)!r}))"
    )
    assert not imported_modules(code) & {"tensorflow", "keras"}
