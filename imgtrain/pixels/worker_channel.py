"""Start a worker process and open a channel to it.

The process is a new interpreter with the caller's import path, which doesn't import the caller's `__main__`. Where the
system allows it, the process inherits the channel; otherwise, as on Windows, it says at which address it listens.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection, Listener

from imgtrain.run.system import INHERITS_DESCRIPTORS, cancel_exit, exit_after

__all__ = ["open_channel", "start_worker"]

_BY_ADDRESS = "address"
# Ends a worker whose caller has ended before it could connect.
_SECONDS_TO_CONNECT = 60.0


def start_worker(
    code: str,
    *,
    environment: Mapping[str, str],
    seconds: float,
    inherit: bool = INHERITS_DESCRIPTORS,
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start an interpreter that runs `code`, and return the process and the channel.

    Libraries print warnings to stderr, so all output is discarded.

    Args:
        code: Calls `open_channel(sys.argv[1])`; the caller's import path is in `sys.argv[2:]`.
        environment: Variables to set for the process.
        seconds: Time limit, if the process doesn't inherit the channel.
        inherit: Whether the process inherits the channel.

    Raises:
        TimeoutError: The process did not connect in time. It has been stopped.
        EOFError: The process ended before. Its status is the argument.
    """
    variables = {**os.environ, **environment}
    if not inherit:
        return _start_by_address(code, variables, seconds)
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(there.fileno()), *sys.path],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=variables,
        )
    return process, Connection(here.detach())


def open_channel(given: str) -> Connection:
    """Return the channel to the caller, in the worker process.

    Args:
        given: `sys.argv[1]`.
    """
    if given != _BY_ADDRESS:
        return Connection(int(given))
    key = bytes.fromhex(sys.stdin.readline())
    with Listener(authkey=key) as listener:
        print(json.dumps(listener.address), flush=True)
        exit_after(_SECONDS_TO_CONNECT)
        channel = listener.accept()
        cancel_exit()
    # The caller no longer reads what is printed.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return channel


def _start_by_address(
    code: str, variables: Mapping[str, str], seconds: float
) -> tuple[subprocess.Popen[bytes], Connection]:
    key = secrets.token_bytes(32)
    process = subprocess.Popen(
        [sys.executable, "-c", code, _BY_ADDRESS, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # Reading a pipe has no time limit; it ends when the process is stopped.
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        with process.stdin, process.stdout:
            process.stdin.write(key.hex().encode() + b"\n")
            process.stdin.flush()
            address = process.stdout.readline()
        return process, Client(json.loads(address), authkey=key)
    except (OSError, EOFError, ValueError):
        in_time = timer.is_alive()
        try:
            status = process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if in_time:
            raise EOFError(status) from None
        raise TimeoutError from None
    finally:
        timer.cancel()
