"""`imgtrain check`: audit data and configuration, and measure the cost of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imgtrain.audit.check import check as audit
from imgtrain.audit.result import AuditReport
from imgtrain.events import Emit, ignore
from imgtrain.workflows.measure_training import measure_training

__all__ = ["check"]


def check(
    source: Path | str,
    overrides: Sequence[str] = (),
    *,
    fix_split: Path | None = None,
    sheet: Path | None = None,
    timing: bool = True,
    emit: Emit = ignore,
) -> AuditReport:
    """Audit a configuration and its data, or a folder of images.

    Args:
        source: A configuration file, or a folder of images as for `imgtrain init`.
        overrides: As in `load_config`; only with a configuration.
        fix_split: Where to write a split file without leaks, for `data.split_file`.
        sheet: Where to write an image of duplicates and bad files; ends in .png.
        timing: Whether to time a few training steps, in a separate process with TensorFlow, if there is no error.
        emit: Called with progress events.

    Returns:
        The findings. A folder without a data set is reported as a finding.

    Raises:
        ConfigError: The configuration cannot be read, or an option is invalid.
        RunFileError: A file or the cache cannot be written.
    """
    return audit(
        source,
        overrides,
        fix_split=fix_split,
        sheet=sheet,
        measure_training=measure_training if timing else None,
        emit=emit,
    )
