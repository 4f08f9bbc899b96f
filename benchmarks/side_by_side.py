"""Interleaved benchmark rounds in separate processes, so that variations of the machine affect all contenders equally.

Each contender sets itself up and then runs one round per signal, while the others wait. Reported are the median of the
rounds, and the median of the ratios between neighboring rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

__all__ = ["Gate", "compare", "print_table"]

Gate = Callable[[], None]


def open_gate() -> Gate:
    """Return, in a contender, a function that reports the end of a round and waits for the start of the next."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def gate() -> None:
        print("ready", file=channel, flush=True)
        if not sys.stdin.readline():
            sys.exit()

    return gate


def compare(script: str, contenders: Mapping[str, Sequence[str]], *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each contender took for each round, without a first warm-up round.

    Args:
        script: The file to run.
        contenders: The arguments of each contender, by name.
        rounds: Number of rounds after the warm-up.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    processes: dict[str, subprocess.Popen[str]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for name, arguments in contenders.items():
            processes[name] = subprocess.Popen(
                [sys.executable, script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if "--quiet" in sys.argv else None,
                text=True,
                env=environment,
                cwd=Path(script).parent,
            )
            _wait(name, processes[name])
        for number in range(rounds + 1):
            for name, process in processes.items():
                assert process.stdin is not None
                started = perf_counter()
                process.stdin.write("go\n")
                process.stdin.flush()
                _wait(name, process)
                if number:
                    seconds[name].append(perf_counter() - started)
            if number:
                told = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items())
                print(f"  round {number} of {rounds}: {told}", file=sys.stderr, flush=True)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return seconds


def print_table(seconds: Mapping[str, Sequence[float]], *, images: int, first: str) -> None:
    """Print the throughput of each contender and the speedup of the first one.

    Args:
        seconds: Result of `compare`.
        images: Images per round.
        first: The contender whose speedup is printed.
    """
    load = os.getloadavg()[0]
    print(f"{len(seconds[first])} rounds of {images:,} images each, interleaved; load average {load:.1f}")
    print(f"  {'':34} {'images/s':>10} {f'{first} speedup':>32}")
    for name, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, seconds[first], strict=True)]
        told = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"  {name:34} {images / statistics.median(times):>10,.0f} {told if name != first else '':>32}")


def _wait(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{name} ended with status {process.wait()}")
