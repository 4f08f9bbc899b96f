"""The parts of a run that resuming it must not change."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def results(run: Path) -> dict[str, Any]:
    """Return history, weights, scores and predictions of a finished run, without its times."""
    from imgtrain.model.archive import load_model

    with (run / "history.csv").open(newline="") as file:
        history = [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]
    facts = json.loads((run / "run.json").read_text())
    return {
        "history": history,
        "weights": [weight.tobytes() for weight in load_model(run).model.get_weights()],
        "metrics": (run / "metrics.json").read_text(),
        "predictions": (run / "predictions-test.csv").read_text(),
        "facts": {key: facts[key] for key in ("status", "epochs_run", "best_epoch", "stopped_early")},
    }
