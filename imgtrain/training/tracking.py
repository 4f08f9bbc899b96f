"""Experiment tracking with TensorBoard and MLflow, driven by the same events as the console output.

Both are optional packages. A tracker that fails during a run is disabled with a warning; the same results are saved in
the run directory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from imgtrain.batches.batches import Batches
from imgtrain.config.schema import Config
from imgtrain.errors import ConfigError, Problem
from imgtrain.events import Emit, EpochEnded, Event, Message
from imgtrain.model.runtime import tf
from imgtrain.run.run_directory import RunDirectory
from imgtrain.text import printable

__all__ = ["Trackers", "check_trackers", "track"]

_SAMPLE_IMAGES = 16


class Tracker(Protocol):
    """Interface of an experiment tracker."""

    def take_epoch(self, event: EpochEnded) -> None:
        """Log the metrics of an epoch."""

    def take_samples(self, images: NDArray[np.uint8]) -> None:
        """Log training images, shape (batch_size, height, width, channels)."""

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Log the final scores, after all files of the run are written."""

    def close(self, *, failed: bool) -> None:
        """Close the tracker."""


class Trackers:
    """All trackers of a run. A tracker that raises is disabled."""

    def __init__(self, trackers: list[Tracker], emit: Emit) -> None:
        self._trackers = trackers
        self._emit = emit

    def listen(self, event: Event) -> None:
        """Forward events to `emit`, and the metrics of epochs to the trackers."""
        self._emit(event)
        if isinstance(event, EpochEnded):
            self._notify(lambda tracker: tracker.take_epoch(event))

    def take_samples(self, train: Batches) -> None:
        """Log the first augmented training images."""
        if self._trackers:
            images = train.batch(0, 0)[0][:_SAMPLE_IMAGES]
            self._notify(lambda tracker: tracker.take_samples(images))

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Log the final scores, after all files of the run are written."""
        self._notify(lambda tracker: tracker.finish(metrics, run))

    def close(self, *, failed: bool) -> None:
        """Close all trackers."""
        self._notify(lambda tracker: tracker.close(failed=failed))

    def _notify(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                reason = f"{type(error).__name__}: {error}"[:300]
                self._emit(
                    Message(
                        f"{type(tracker).__name__} failed and is disabled for this run: {reason}", "warning"
                    )
                )


@contextmanager
def track(config: Config, run: RunDirectory, emit: Emit) -> Iterator[Trackers]:
    """Open the configured trackers.

    Raises:
        ConfigError: A tracker cannot be opened.
    """
    trackers: list[Tracker] = []
    if config.training.tensorboard:
        trackers.append(TensorBoard(run))
    if config.training.mlflow is not None:
        try:
            trackers.append(MLflow(config, config.training.mlflow, run))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:300]
            raise ConfigError(
                Problem(config.where("training", "mlflow"), f"MLflow cannot create the run: {reason}")
            ) from error
    opened = Trackers(trackers, emit)
    try:
        yield opened
    finally:
        opened.close(failed=sys.exc_info()[0] is not None)


class TensorBoard:
    """Logs metrics, confusion matrices and sample images to the run's `tensorboard` folder."""

    def __init__(self, run: RunDirectory) -> None:
        self._folder = run.tensorboard
        self._last_epoch = 0

    @cached_property
    def _writer(self) -> Any:
        # Created on first use, because the run directory does not exist before.
        return tf.summary.create_file_writer(str(self._folder))

    def take_epoch(self, event: EpochEnded) -> None:
        """Write all metrics; training and validation curves of a metric share a group."""
        self._last_epoch = event.epoch + 1
        with self._writer.as_default(step=self._last_epoch):
            for name, value in event.logs.items():
                validation = name.startswith("val_")
                tf.summary.scalar(
                    f"{name.removeprefix('val_')}/{'validation' if validation else 'training'}", value
                )
            tf.summary.scalar("images per second/training", event.images_per_second)
        self._writer.flush()

    def take_samples(self, images: NDArray[np.uint8]) -> None:
        """Write the images."""
        with self._writer.as_default(step=0):
            tf.summary.image("augmented training images", images, max_outputs=len(images))

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Write the confusion matrix and the scores of every split."""
        with self._writer.as_default(step=self._last_epoch):
            for split, scores in metrics.items():
                tf.summary.image(f"confusion matrix/{split}", _draw_confusions(scores)[None])
                for name, value in _numbers(scores).items():
                    tf.summary.scalar(f"{split}/{name}", value)

    def close(self, *, failed: bool) -> None:
        """Flush and close the writer."""
        self._writer.close()


class MLflow:
    """Logs parameters, metrics, model and report to an MLflow experiment at MLFLOW_TRACKING_URI."""

    def __init__(self, config: Config, experiment: str, run: RunDirectory) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(experiment)
        identity = self._client.create_experiment(experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(identity, run_name=run.path.name).info.run_id
        for name, value in _flatten(config.model_dump(mode="json")):
            self._client.log_param(self._run, name, str(value)[:500])

    def take_epoch(self, event: EpochEnded) -> None:
        """Log all metrics."""
        for name, value in event.logs.items():
            self._client.log_metric(self._run, name, value, step=event.epoch + 1)

    def take_samples(self, images: NDArray[np.uint8]) -> None:
        """Do nothing: the report contains sample images."""

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Log the scores and the run's files, except checkpoints and log."""
        for split, scores in metrics.items():
            for name, value in _numbers(scores).items():
                self._client.log_metric(self._run, f"{split}_{name}", value)
        model = run.model(str(run.read_run()["model"]))
        for path in (model, run.report, run.metrics, run.config, run.data, run.history):
            if path.exists():
                self._client.log_artifact(self._run, str(path))

    def close(self, *, failed: bool) -> None:
        """Set the final status of the MLflow run."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


def check_trackers(config: Config) -> list[Problem]:
    """Return a problem for each tracker that is configured but not installed."""
    wanted_packages = {
        "tensorboard": config.training.tensorboard,
        "mlflow": config.training.mlflow is not None,
    }
    return [
        Problem(
            config.where("training", package),
            f"needs the package {package}, which is not installed",
            f"pip install 'imgtrain[{package}]'",
        )
        for package, wanted in wanted_packages.items()
        if wanted and find_spec(package) is None
    ]


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalar scores."""
    return {name: float(value) for name, value in scores.items() if isinstance(value, int | float)}


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _draw_confusions(scores: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the row-normalized confusion matrix as an RGB image, shape (height, width, 3)."""
    counts = np.array(scores["confusion_matrix"])
    names = [printable(name)[:20] for name in scores["class_names"]]
    side = min(20.0, 2.5 + 0.6 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    for (row, column), count in np.ndenumerate(counts):
        if count and len(names) <= 30:
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color="black" if row != column else "orangered",
            )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
