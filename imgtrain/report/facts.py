"""The contents of the report: passed at the end of a run or an evaluation, or loaded from its directory."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.predictions import Predictions, load_predictions
from imgtrain.run.run_directory import RunDirectory, read_json

__all__ = ["Facts", "load_facts"]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """The contents of the report; missing parts are None.

    Attributes:
        directory: The run or evaluation.
        split: The reported split: `evaluation`, `test` or, without test images, `validation`.
        metrics: The metrics of every split, as in `metrics.json`.
        predictions: The predictions of the split.
        root: Folder of the split's images; None if unknown.
        run: `run.json`.
        data: `data.json`.
        history: The values of each epoch by name.
        config: The text of `config.yaml`.
        exports: The models exported from the run by file name, as in `export.json`.
    """

    directory: Path
    split: str
    metrics: Mapping[str, Any]
    predictions: Predictions | None
    root: Path | None = None
    run: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    history: tuple[Mapping[str, float], ...] = ()
    config: str | None = None
    exports: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> Mapping[str, Any]:
        """The metrics of the reported split."""
        scores: Mapping[str, Any] = self.metrics[self.split]
        return scores


def load_facts(directory: Path) -> Facts:
    """Load a run directory, or the output of an evaluation.

    Raises:
        RunFileError: It contains no scores, or a file in it is corrupt.
    """
    run = RunDirectory(directory)
    if not run.metrics.exists():
        hint = "give a completed run, or the output of `imgtrain evaluate --output`"
        raise RunFileError(Problem(directory, f"contains no {run.metrics.name}", hint))
    metrics = _read(run.metrics, dict[str, _Scores], "restore it, or train or evaluate again")
    split = next((name for name in ("evaluation", "test", "validation") if name in metrics), None)
    if split is None:
        raise RunFileError(Problem(run.metrics, "contains no scores"))
    file = run.predictions(None if split == "evaluation" else split)
    restore = "restore it, or train again"
    data = _read(run.data, _Data, restore) if run.data.exists() else None
    folder = (data or {}).get("splits", {}).get(split, {}).get("folder")
    return Facts(
        directory=run.path,
        split=split,
        metrics=metrics,
        predictions=load_predictions(file) if file.exists() else None,
        root=None if folder is None else Path(folder),
        run=_read(run.run, _Run, restore) if run.run.exists() else None,
        data=data,
        history=_read_history(run.history) if run.history.exists() else (),
        config=run.config.read_text(encoding="utf-8", errors="replace") if run.config.exists() else None,
        exports=_read(run.exports, dict[str, _Export], "restore it, or remove it and export again")
        if run.exports.exists()
        else {},
    )


class _Timing(BaseModel):
    median_ms: float


class _ByBatchSize(BaseModel):
    one: _Timing = Field(alias="1")
    many: _Timing = Field(alias="32")


class _Latency(BaseModel):
    keras: _ByBatchSize
    exported: _ByBatchSize


class _Export(BaseModel):
    """The figures of an exported model that the report shows."""

    size_bytes: int
    accuracy: float
    accuracy_difference_ci95: tuple[float, float] | None
    equal_decisions: float
    latency: _Latency


class _OfClass(BaseModel):
    support: int
    recall: float
    auc: float | None
    average_precision: float | None


class _Scores(BaseModel):
    """The metrics without which there is no report."""

    images: int
    accuracy: float
    accuracy_ci95: tuple[float, float] | None
    auc: float | None
    expected_calibration_error: float
    expected_calibration_error_ci95: tuple[float, float] | None
    reliability: list[Any]
    baselines: dict[str, Any]
    class_names: list[str]
    per_class: dict[str, _OfClass]
    confusion_matrix: list[list[int]]


class _ImageOfSplit(BaseModel):
    label: str = Field(alias="class")


class _SplitOfData(BaseModel):
    folder: str
    images: list[_ImageOfSplit]
    skipped: list[Any]


class _Data(BaseModel):
    fingerprint: str
    splits: dict[str, _SplitOfData]


class _Run(BaseModel):
    versions: dict[str, str] = {}
    best_epoch: int | None = None
    learning_rates: list[tuple[float, float]] = []


def _read(path: Path, content: Any, hint: str) -> Any:
    """Return the JSON content of a file after checking the parts of it that the report shows."""
    given = read_json(path)
    try:
        TypeAdapter(content).validate_python(given)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RunFileError(Problem(path, f"is corrupt: {'; '.join(problems)}", hint)) from None
    return given


def _read_history(path: Path) -> tuple[Mapping[str, float], ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple({name: float(value) for name, value in row.items()} for row in csv.DictReader(file))
    except (OSError, ValueError, TypeError) as error:
        raise RunFileError(Problem(path, f"is corrupt: {error}")) from None
