"""What a run tells TensorBoard and MLflow: listeners to the same events that the screen shows.

Both are optional packages. A tracker that fails while a run goes on is left out with a warning: what it would have
shown stands in the run directory too.
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
    """Something that follows a run."""

    def take_epoch(self, event: EpochEnded) -> None:
        """Follow the curves."""

    def take_samples(self, images: NDArray[np.uint8]) -> None:
        """Show what is trained on: (b, height, width, channels)."""

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Show the scores of a run whose files are written."""

    def close(self, *, failed: bool) -> None:
        """Let go."""


class Trackers:
    """All trackers of a run; one that raises is left out from then on."""

    def __init__(self, trackers: list[Tracker], emit: Emit) -> None:
        self._trackers = trackers
        self._emit = emit

    def listen(self, event: Event) -> None:
        """Pass an event on to the screen, and to the trackers what they follow."""
        self._emit(event)
        if isinstance(event, EpochEnded):
            self._tell(lambda tracker: tracker.take_epoch(event))

    def take_samples(self, train: Batches) -> None:
        """Show the first images as they are trained on."""
        if self._trackers:
            images = train.batch(0, 0)[0][:_SAMPLE_IMAGES]
            self._tell(lambda tracker: tracker.take_samples(images))

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Show the scores of a run whose files are written."""
        self._tell(lambda tracker: tracker.finish(metrics, run))

    def close(self, *, failed: bool) -> None:
        """Let go of all."""
        self._tell(lambda tracker: tracker.close(failed=failed))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                what(tracker)
            except Exception as error:
                self._trackers.remove(tracker)
                reason = f"{type(error).__name__}: {error}"[:300]
                self._emit(Message(f"{type(tracker).__name__} is left out from here on: {reason}", "warning"))


@contextmanager
def track(config: Config, run: RunDirectory, emit: Emit) -> Iterator[Trackers]:
    """Open the trackers that the configuration asks for.

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
                Problem(config.where("training", "mlflow"), f"MLflow does not take the run: {reason}")
            ) from error
    opened = Trackers(trackers, emit)
    try:
        yield opened
    finally:
        opened.close(failed=sys.exc_info()[0] is not None)


class TensorBoard:
    """Curves, the confusion matrices and sample images, in the run's folder `tensorboard`."""

    def __init__(self, run: RunDirectory) -> None:
        self._folder = run.tensorboard
        self._last_epoch = 0

    @cached_property
    def _writer(self) -> Any:
        # Not before something is to be written: the run directory does not stand yet.
        return tf.summary.create_file_writer(str(self._folder))

    def take_epoch(self, event: EpochEnded) -> None:
        """Write every metric under its name: training and validation of one metric beside each other."""
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
        """Write them as pictures."""
        with self._writer.as_default(step=0):
            tf.summary.image("augmented training images", images, max_outputs=len(images))

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Write the confusion matrix of every split, and its scores."""
        with self._writer.as_default(step=self._last_epoch):
            for split, scores in metrics.items():
                tf.summary.image(f"confusion matrix/{split}", _draw_confusions(scores)[None])
                for name, value in _numbers(scores).items():
                    tf.summary.scalar(f"{split}/{name}", value)

    def close(self, *, failed: bool) -> None:
        """Write out what is left."""
        self._writer.close()


class MLflow:
    """Parameters, curves, scores, model and report in an experiment; MLFLOW_TRACKING_URI says where."""

    def __init__(self, config: Config, experiment: str, run: RunDirectory) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(experiment)
        identity = self._client.create_experiment(experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(identity, run_name=run.path.name).info.run_id
        for name, value in _flatten(config.model_dump(mode="json")):
            self._client.log_param(self._run, name, str(value)[:500])

    def take_epoch(self, event: EpochEnded) -> None:
        """Log every metric."""
        for name, value in event.logs.items():
            self._client.log_metric(self._run, name, value, step=event.epoch + 1)

    def take_samples(self, images: NDArray[np.uint8]) -> None:
        """Log nothing: the report shows them."""

    def finish(self, metrics: Mapping[str, Any], run: RunDirectory) -> None:
        """Log the scores, and the run's files but for its checkpoints and log."""
        for split, scores in metrics.items():
            for name, value in _numbers(scores).items():
                self._client.log_metric(self._run, f"{split}_{name}", value)
        model = run.model(str(run.read_run()["model"]))
        for path in (model, run.report, run.metrics, run.config, run.data, run.history):
            if path.exists():
                self._client.log_artifact(self._run, str(path))

    def close(self, *, failed: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


def check_trackers(config: Config) -> list[Problem]:
    """Return a problem for each tracker that is asked for and not installed."""
    asked = {"tensorboard": config.training.tensorboard, "mlflow": config.training.mlflow is not None}
    return [
        Problem(
            config.where("training", package),
            f"needs the package {package}, which is not installed",
            f"pip install 'imgtrain[{package}]'",
        )
        for package, wanted in asked.items()
        if wanted and find_spec(package) is None
    ]


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores that are single numbers."""
    return {name: float(value) for name, value in scores.items() if isinstance(value, int | float)}


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _draw_confusions(scores: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the confusion matrix as a picture (height, width, 3); a row's shares as shades."""
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
