"""What the rooms have to tell while they work: frozen events, handed to whoever listens.

No room prints. A room that takes long takes an `emit` function and calls it; the command line turns the
events into bars, tables and plain lines, a test collects them in a list, and a notebook may ignore them.
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
    "TrainingEnded",
    "ignore",
]


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events."""


@dataclass(frozen=True, slots=True)
class Message(Event):
    """One sentence to the user; file names and other text from outside are escaped here, once.

    Attributes:
        text: The sentence.
        severity: `detail` (shown with `--verbose`), `info` or `warning`.
    """

    text: str
    severity: str = "info"

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A countable piece of work goes on; the first event of a task has `done == 0`, the last `done == total`.

    Attributes:
        task: What is done, as shown beside the bar: `decoding train`.
        done: How many are finished.
        total: How many there are.
        unit: What is counted, in the plural: `images`.
    """

    task: str
    done: int
    total: int
    unit: str = "images"


@dataclass(frozen=True, slots=True)
class ImageClassified(Event):
    """A model has said what a file shows.

    Attributes:
        path: The file.
        answer: A class's name, or `unsure`.
        probability: Of the class decided on.
        ranked: The most probable classes that were asked for, (name, probability), the first one first.
    """

    path: str
    answer: str
    probability: float
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class RunOpened(Event):
    """The run directory stands; from here on files are written.

    Attributes:
        directory: The run directory.
        log: The file for what is printed.
        resumed: Whether the log of an earlier run goes on.
    """

    directory: Path
    log: Path
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class ModelBuilt(Event):
    """The network stands.

    Attributes:
        rows: One (layer, output shape, parameters) per layer.
        parameters: Count of all weights.
        trainable_parameters: Count of the weights that training changes.
        weight_bytes: Memory of the weights.
        training_bytes: Estimate of weights, gradients, optimizer slots and one batch's activations.
    """

    rows: tuple[tuple[str, str, int], ...]
    parameters: int
    trainable_parameters: int
    weight_bytes: int
    training_bytes: int


@dataclass(frozen=True, slots=True)
class EpochStarted(Event):
    """An epoch begins; `epoch` counts from 0."""

    epoch: int
    epochs: int
    steps: int
    images: int


@dataclass(frozen=True, slots=True)
class BatchTrained(Event):
    """A batch is done.

    Attributes:
        step: How many batches of this epoch are done.
        images: How many images of this epoch are done.
        logs: The running means of the epoch's metrics, by name.
    """

    step: int
    images: int
    logs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EpochEnded(Event):
    """An epoch is over, its validation included.

    Attributes:
        epoch: Counts from 0.
        seconds: Wall time of the whole epoch, validation included.
        images_per_second: Training images over the time that training took.
        logs: Every metric by name, as written to `history.csv`.
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
    """The last epoch is over, and the model has the best weights.

    Attributes:
        epochs_run: How many epochs were trained.
        best_epoch: The epoch, from 0, whose weights the model has.
        stopped_early: Whether fewer were trained than asked for.
    """

    epochs_run: int
    best_epoch: int
    stopped_early: bool


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing: the default of every `emit`."""
