"""Events that report progress, as frozen values.

Only the command line prints. Functions that take long accept an `emit` function and call it with events. The command
line shows them as progress bars, tables and lines; tests collect them in a list; notebooks can ignore them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imgtrain.text import printable

__all__ = [
    "BatchTrained",
    "Emit",
    "EpochEnded",
    "EpochStarted",
    "Event",
    "ImageClassified",
    "Message",
    "ModelBuilt",
    "Progress",
    "RunOpened",
    "ScheduleBuilt",
    "TrainingEnded",
    "ignore",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Base class of all events."""


@dataclass(frozen=True, slots=True)
class Message(Event):
    """A message to the user; file names and other text from outside are escaped here.

    Attributes:
        text: One sentence.
        severity: `detail` (shown with `--verbose`), `info` or `warning`.
    """

    text: str
    severity: str = "info"

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Progress of a task; its first event has `done == 0`, the last one `done == total`.

    Attributes:
        task: The task as shown next to the progress bar: `decoding train`.
        done: Number of completed items.
        total: Total number of items.
        unit: Unit of the items, in the plural: `images`.
    """

    task: str
    done: int
    total: int
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class ImageClassified(Event):
    """A file was classified.

    Attributes:
        path: The file.
        predicted: A class name, or `unsure`.
        probability: Probability of the predicted class.
        ranked: The requested number of most probable classes, (name, probability), in descending order.
    """

    path: str
    predicted: str
    probability: float
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class RunOpened(Event):
    """The run directory was created or opened.

    Attributes:
        directory: The run directory.
        log: The log file.
        resumed: Whether to append to the log of an earlier run.
    """

    directory: Path
    log: Path
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class ModelBuilt(Event):
    """The network was built.

    Attributes:
        rows: One (layer, output shape, parameters, trainable parameters) per layer.
        parameters: Number of parameters.
        trainable_parameters: Number of trainable parameters.
        weight_bytes: Memory of the weights.
        training_bytes: Estimated memory of weights, gradients, optimizer slots and the activations of one batch.
    """

    rows: tuple[tuple[str, str, int, int], ...]
    parameters: int
    trainable_parameters: int
    weight_bytes: int
    training_bytes: int


@dataclass(frozen=True, slots=True)
class ScheduleBuilt(Event):
    """The learning rates of all batches are known.

    Attributes:
        name: Name of the schedule.
        epochs: Number of epochs.
        steps: Batches per epoch.
        curve: (epochs completed, learning rate) of evenly spaced batches, including the first, highest and last.
        example: Whether the number of epochs is only an example, because `training.minutes` determines it later.
    """

    name: str
    epochs: int
    steps: int
    curve: tuple[tuple[float, float], ...]
    example: bool = False


@dataclass(frozen=True, slots=True)
class EpochStarted(Event):
    """An epoch starts; `epoch` counts from 0."""

    epoch: int
    epochs: int
    steps: int
    images: int


@dataclass(frozen=True, slots=True)
class BatchTrained(Event):
    """A batch was trained.

    Attributes:
        step: Number of batches completed in this epoch.
        images: Number of images completed in this epoch.
        logs: Running means of the epoch's metrics, by name.
    """

    step: int
    images: int
    logs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EpochEnded(Event):
    """An epoch has ended, including its validation.

    Attributes:
        epoch: Counts from 0.
        seconds: Wall time of the epoch, including validation.
        images_per_second: Training throughput, without validation.
        logs: All metrics by name, as written to `history.csv`.
        best: Whether the monitored value is the best so far.
    """

    epoch: int
    epochs: int
    seconds: float
    images_per_second: float
    logs: Mapping[str, float]
    best: bool


@dataclass(frozen=True, slots=True)
class TrainingEnded(Event):
    """Training has ended, and the best weights have been restored.

    Attributes:
        epochs_run: Number of trained epochs.
        best_epoch: The epoch (from 0) whose weights the model uses.
        stopped_early: Whether training was stopped early.
    """

    epochs_run: int
    best_epoch: int
    stopped_early: bool


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore the event; the default of every `emit`."""
