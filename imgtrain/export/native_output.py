"""Keep what native code prints about its progress off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["without_native_output"]


@contextlib.contextmanager
def without_native_output() -> Iterator[None]:
    """Discard everything written to stdout and stderr in the block, also by native code.

    Converters and runtimes print to the file descriptors, whatever the log level. Their errors are exceptions.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {}
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # The process may have neither.
            kept[descriptor] = os.dup(descriptor)
    with tempfile.TemporaryFile() as discarded:
        for descriptor in kept:
            os.dup2(discarded.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
