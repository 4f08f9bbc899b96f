"""How close `imgtrain check` estimates the time per epoch and the memory of the run that follows.

    python benchmarks/estimates.py CONFIG... [--rounds 3]

For each configuration, in turns: `check`, then a run of three epochs. Printed are the ratios of estimate and run.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def ratios(config: Path, folder: Path) -> tuple[float, float]:
    """Return estimated / real seconds per epoch, and estimated / real peak memory."""
    command = [sys.executable, "-m", "imgtrain"]
    told = subprocess.run([*command, "check", config, "--json"], capture_output=True, text=True, check=False)
    cost = json.loads(told.stdout)["cost"]
    run = folder / "run"
    overrides = ["--set", "training.epochs=3", "--set", "training.minutes=null"]
    subprocess.run([*command, "train", config, *overrides, "-o", run, "--overwrite", "-q"], check=True)
    with (run / "history.csv").open(newline="") as file:
        seconds = [float(epoch["seconds"]) for epoch in csv.DictReader(file)][1:]
    memory = json.loads((run / "run.json").read_text())["peak_memory_mib"] * 2**20
    return cost["epoch_seconds"] / statistics.mean(seconds), cost["memory_bytes"] / memory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for config in options.configs:
        with tempfile.TemporaryDirectory() as folder:
            results = [ratios(config, Path(folder)) for _ in range(options.rounds)]
        for name, values in zip(("time", "memory"), zip(*results, strict=True), strict=True):
            spread = f"{min(values):.2f}–{max(values):.2f}"
            print(f"{config.name}: {name} {statistics.median(values):.2f} ({spread})", flush=True)
