"""TensorBoard and MLflow get what the run directory has, through their own packages, in local files."""

import json

import pytest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def folder(tmp_path, make_folders):
    make_folders(tmp_path, {"train": {"a": 12, "b": 12}, "test": {"a": 5, "b": 5}})
    (tmp_path / "config.yaml").write_text(
        "data: {train: train, test: test, validation_split: 0.25, target_size: [12, 12]}\n"
        "model:\n  layers: [Flatten]\ntraining: {epochs: 2}\n"
    )
    return tmp_path


def history_of(folder):
    header, *rows = [line.split(",") for line in (folder / "run/history.csv").read_text().splitlines()]
    return [dict(zip(header, map(float, row), strict=True)) for row in rows]


def test_tensorboard_shows_curves_confusions_and_samples(folder, imgtrain):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    done = imgtrain(
        "train", "config.yaml", "--output", "run", "--set", "training.tensorboard=true", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "disabled for this run" not in done.stderr
    events = EventAccumulator(str(folder / "run/tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"augmented training images", "confusion matrix/test", "test/macro_f1"} <= tags
    written = {
        event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors("loss/validation")
    }
    expected = {int(row["epoch"]): row["val_loss"] for row in history_of(folder)}
    assert written == pytest.approx(expected, rel=1e-5)
    metrics = json.loads((folder / "run/metrics.json").read_text())
    (accuracy,) = events.Tensors("test/accuracy")
    assert float(make_ndarray(accuracy.tensor_proto)) == pytest.approx(metrics["test"]["accuracy"])
    again = imgtrain("train", "config.yaml", "--output", "run", "--overwrite", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert not (folder / "run/tensorboard").exists()


def test_mlflow_gets_parameters_curves_scores_model_and_report(folder, imgtrain):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

    store = f"sqlite:///{folder / 'mlflow.db'}"
    environment = {"MLFLOW_TRACKING_URI": store}
    done = imgtrain(
        "train",
        "config.yaml",
        "--output",
        "run",
        "--set",
        "training.mlflow=cats",
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "disabled for this run" not in done.stderr
    client = mlflow.MlflowClient(tracking_uri=store)
    (run,) = client.search_runs([client.get_experiment_by_name("cats").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.epochs"] == "2"
    metrics = json.loads((folder / "run/metrics.json").read_text())
    assert run.data.metrics["test_macro_f1"] == pytest.approx(metrics["test"]["macro_f1"])
    curve = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, "val_loss")}
    assert curve == pytest.approx({int(row["epoch"]): row["val_loss"] for row in history_of(folder)})
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"model.keras", "report.html", "metrics.json", "config.yaml"} <= artifacts


def test_a_missing_package_is_named_with_its_command(folder, monkeypatch):
    import imgtrain
    from imgtrain.training import tracking

    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    overrides = ["training.tensorboard=true", "training.mlflow=cats", f"output.directory={folder / 'run'}"]
    config = imgtrain.load_config(folder / "config.yaml", overrides)
    with pytest.raises(imgtrain.ImgtrainError) as error:
        imgtrain.train(imgtrain.make_plan(config))
    assert "pip install 'imgtrain[tensorboard]'" in str(error.value)
    assert "pip install 'imgtrain[mlflow]'" in str(error.value)
    assert not (folder / "run").exists()
