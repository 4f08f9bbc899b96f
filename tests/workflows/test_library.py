"""Imgtrain from Python: the README's lines, word for word, and what they promise."""

import contextlib
import io
import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image
from repository import REPOSITORY

import imgtrain

pytestmark = pytest.mark.tensorflow


@pytest.mark.slow
@pytest.mark.parametrize("tested", [True, False], ids=["with test folder", "without"])
def test_the_lines_of_the_readme_run(tmp_path, tested):
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    sample = (REPOSITORY / "configs/sample.yaml").read_text()
    test_folder = "  test: ../sample_data/test\n"
    assert test_folder in sample
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sample.yaml").write_text(sample if tested else sample.replace(test_folder, ""))
    (tmp_path / "sample_data").symlink_to(REPOSITORY / "sample_data")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracies = dict(re.findall(r"^(validation|test) (\S+) \[", done.stdout, re.MULTILINE))
    assert set(accuracies) == ({"validation", "test"} if tested else {"validation"})
    assert all(0 <= float(accuracy) <= 1 for accuracy in accuracies.values())
    assert "PredictResult: 60 files classified" in done.stdout
    assert (tmp_path / "runs/sample/model.keras").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_folders):
    """A trained run, its plan, its result, and what was shown and told."""
    import imgtrain

    folder = tmp_path_factory.mktemp("run")
    make_folders(folder, {"train": {"a": 8, "b": 8}, "validation": {"a": 3, "b": 3}}, side=8)
    config = imgtrain.parse_config(
        {
            "data": {
                "train": folder / "train",
                "validation": folder / "validation",
                "target_size": [8, 8],
                "cache": "none",
            },
            "model": {"layers": ["Flatten"]},
            "training": {"epochs": 2},
            "output": {"directory": folder / "run"},
        }
    )
    plan = imgtrain.make_plan(config)
    told = []
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        result = imgtrain.train(plan, on_event=told.append)
    return plan, result, shown.getvalue(), told


def test_training_tells_its_events_and_is_silent_and_logged_when_nobody_watches(run):
    from imgtrain.events import EpochEnded

    _, result, shown, told = run
    assert [event.epoch for event in told if isinstance(event, EpochEnded)] == [0, 1]
    assert shown == ""
    assert "Epoch 2/2" in (result.directory / "log.txt").read_text()


def test_progress_shows_what_the_command_shows(run, capsys):
    import imgtrain

    plan, *_ = run
    imgtrain.train(plan, resume=True, progress=True)
    shown = capsys.readouterr().out
    assert "the run is already completed" in shown
    assert "Validation accuracy" in shown


def test_predictions_are_returned_for_every_file(run, tmp_path):
    import imgtrain

    plan, result, *_ = run
    (tmp_path / "broken.png").write_bytes(b"")
    folder = plan.config.data.validation
    predictions = imgtrain.predict(
        result.directory, [folder, tmp_path / "broken.png"], output=tmp_path / "predictions.csv"
    )
    assert len(predictions) == 7
    assert predictions.errors == [None] * 6 + ["empty file"]
    raw = np.stack([np.asarray(Image.open(path)) for path in predictions.paths[:6]])
    np.testing.assert_allclose(predictions.probabilities[:6], result.model.predict(raw, verbose=0), atol=1e-6)
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 8
    one = imgtrain.predict(result.directory, str(folder / "a" / "000.png"))
    assert one.paths == [str(folder / "a" / "000.png")]


def test_nothing_public_has_a_long_repr(run):
    import imgtrain

    plan, result, *_ = run
    batches = imgtrain.open_batches(plan)
    config, splits = plan.config, plan.splits
    shown = [plan, result, result.history, batches, config, splits, splits.train, splits.train.folder]
    shown += [
        imgtrain.check(config.data.train),
        imgtrain.evaluate(result.directory, data=config.data.validation),
    ]
    assert [value for value in shown if len(repr(value)) > 900 or "array(" in repr(value)] == []
    assert repr(plan).startswith("<Plan: 2 classes: a, b; train 16 images, validation 6 images; 8×8×3 pixels")


def test_a_preview_is_an_image(run):
    import imgtrain

    plan, *_ = run
    assert imgtrain.preview(plan.config, count=2, images=2).size[0] > 3 * 8


def test_a_part_of_the_validation_images_keeps_the_shares_of_the_classes(tmp_path, make_folders):
    from imgtrain.config.load import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.workflows.library import open_batches

    make_folders(
        tmp_path, {"train": {"a": 4, "b": 4, "c": 4}, "validation": {"a": 40, "b": 20, "c": 20}}, side=8
    )
    data = {name: str(tmp_path / name) for name in ("train", "validation")}

    def labels(steps):
        config = parse_config(
            {
                "data": {
                    **data,
                    "target_size": [8, 8],
                    "class_mode": "sparse",
                    "batch_size": 4,
                    "cache": "memory",
                },
                "training": {"validation_steps": steps},
            }
        )
        validation = open_batches(make_plan(config)).validation
        return np.concatenate([labels for _, labels in (validation[step] for step in range(len(validation)))])

    np.testing.assert_allclose(np.bincount(labels(5)), [10, 5, 5], atol=1)
    assert len(labels(5)) == 20
    assert np.bincount(labels(100)).tolist() == [40, 20, 20]


def test_the_public_functions_stay_functions_after_the_modules_are_imported():
    import imgtrain
    import imgtrain.audit.check
    import imgtrain.workflows.evaluate
    import imgtrain.workflows.predict
    import imgtrain.workflows.preview
    import imgtrain.workflows.train

    assert imgtrain.__version__ == version("imgtrain")
    for name in set(imgtrain.__all__) - {"__version__"}:
        assert callable(getattr(imgtrain, name)), name


@pytest.mark.parametrize("name", ["train", "open_batches"])
@pytest.mark.parametrize("wrong", ["config.yaml", imgtrain.parse_config({"data": {"train": "photos"}})])
def test_a_configuration_instead_of_a_plan(name, wrong):
    with pytest.raises(TypeError, match=r"must be a Plan, got (str|Config); use imgtrain\.make_plan"):
        getattr(imgtrain, name)(wrong)
