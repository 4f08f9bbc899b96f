"""Contents of `run.json` and `history.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imgtrain.dataset.plan import Plan
from imgtrain.model.precision import Precision
from imgtrain.model.runtime import device_name, versions
from imgtrain.run.machine import peak_memory_bytes
from imgtrain.run.run_directory import RunDirectory, render_csv, write_text
from imgtrain.training.history import Epoch, History

__all__ = [
    "NOT_KNOWN_YET",
    "describe_history",
    "describe_run",
    "describe_start",
    "history_rows",
    "peak_memory_mib",
    "record_epochs",
]

# Values in `run.json` until they are known.
NOT_KNOWN_YET: Mapping[str, Any] = {
    "epochs_run": 0,
    "best_epoch": None,
    "stopped_early": False,
    "train_images_per_second": None,
    "peak_memory_mib": None,
}


def describe_run(plan: Plan, precision: Precision) -> dict[str, Any]:
    """Return the `run.json` entries that are known before training."""
    return {
        "model": plan.config.output.model,
        "seed": plan.config.training.seed,
        "versions": versions(),
        "device": device_name(),
        "precision": precision.name,
        "class_names": list(plan.class_names),
    }


def describe_start(start_from: Path | None) -> dict[str, str]:
    """Return the `run.json` entry of a run that starts with the weights of another model; empty for new weights."""
    return {} if start_from is None else {"started_from": str(start_from)}


def record_epochs(run: RunDirectory, facts: dict[str, Any], epochs: Sequence[Epoch]) -> None:
    """Write `history.csv`, and set `epochs_run` in the facts for `run.json`."""
    write_text(run.history, _render_history(epochs))
    facts["epochs_run"] = len(epochs)


def describe_history(history: History) -> dict[str, Any]:
    """Return the `run.json` entries that are known after training."""
    return {
        "epochs_run": len(history.epochs),
        "best_epoch": history.best_epoch + 1,
        "stopped_early": history.stopped_early,
        "train_images_per_second": round(history.images_per_second, 1),
    }


def history_rows(epochs: Sequence[Epoch]) -> tuple[Mapping[str, float], ...]:
    """Return the rows of `history.csv`: one per epoch, numbered from 1."""
    return tuple(
        {
            "epoch": epoch.number + 1,
            **({} if epoch.stage is None else {"stage": epoch.stage}),
            "seconds": round(epoch.seconds, 3),
            **epoch.logs,
        }
        for epoch in epochs
    )


def _render_history(epochs: Sequence[Epoch]) -> str:
    rows = history_rows(epochs)
    return render_csv(list(rows[0]), (list(row.values()) for row in rows))


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process, in MiB."""
    return round(peak_memory_bytes() / 2**20, 1)
