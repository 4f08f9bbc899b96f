"""Time until the first training step, with images already in the cache.

    python benchmarks/start.py FOLDER [--network three] [--rounds 5]

FOLDER contains one folder of photos per class; they are resized to 150×150 first. Each round is a separate process,
after one warm-up round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from photos import NETWORKS, configuration, lay_out

STAGES = ("checked before TensorFlow", "TensorFlow loaded", "first step begun", "first step done")

ONE_RUN = """
import json, sys, time
times = [time.perf_counter()]
mark = lambda: times.append(time.perf_counter())
from imgtrain.config import parse_config
from imgtrain.events import BatchTrained, EpochStarted
from imgtrain.dataset.plan import make_plan
plan = make_plan(parse_config(json.loads(sys.argv[1])))
mark()
import imgtrain.model.runtime
mark()
from imgtrain.workflows.train import train

class Done(Exception): pass

def listen(event):
    if isinstance(event, EpochStarted): mark()
    if isinstance(event, BatchTrained):
        mark()
        raise Done
try:
    train(plan, overwrite=True, emit=listen)
except Done:
    print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="three")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        lay_out(options.folder, Path(temporary))
        config = json.dumps(configuration(Path(temporary), options.network))
        command = [sys.executable, "-c", ONE_RUN, config]
        rounds = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(options.rounds + 1)
        ][1:]
        for stage, seconds in zip(STAGES, zip(*rounds, strict=True), strict=True):
            print(f"{stage:28} {statistics.median(seconds):6.2f} s  ({min(seconds):.2f}–{max(seconds):.2f})")
