"""The result of a check, and its JSON representation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imgtrain.audit.cost import Cost
from imgtrain.audit.findings import SEVERITIES, Finding, Severity
from imgtrain.dataset.layout import count
from imgtrain.errors import ConfigError, DataError
from imgtrain.text import printable

__all__ = ["SCHEMA_VERSION", "AuditReport", "describe_report"]

SCHEMA_VERSION = 1
"""Incremented when a JSON field is removed or changes its meaning, but not for new fields."""


# Errors that are independent of the data.
_OF_THE_CONFIGURATION = {"configuration", "out-of-memory"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AuditReport:
    """The result of a check.

    Attributes:
        source: The configuration or folder that was checked.
        root: The folder that file paths are relative to; None if the images could not be listed.
        images: Number of images per split.
        class_names: In label order.
        findings: Most severe first.
        cost: Estimated cost of training; None for a folder without a configuration.
    """

    source: Path
    root: Path | None
    images: Mapping[str, int]
    class_names: tuple[str, ...]
    findings: tuple[Finding, ...]
    cost: Cost | None = None

    def __repr__(self) -> str:
        found = ", ".join(count(number, severity) for severity, number in self.counts.items())
        return printable(f"<AuditReport {self.source}: {found}>")

    @property
    def counts(self) -> dict[Severity, int]:
        """Number of findings per severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def failed(self) -> bool:
        """Whether there are errors."""
        return self.counts["error"] > 0

    @property
    def exit_status(self) -> int:
        """Exit status of the command: 0, 3 if the data has errors, or 2 if only the configuration has errors."""
        errors = {finding.code for finding in self.findings if finding.severity == "error"}
        if not errors:
            return 0
        return (ConfigError if errors <= _OF_THE_CONFIGURATION else DataError).exit_status


def describe_report(report: AuditReport) -> dict[str, Any]:
    """Return the object printed by `imgtrain check --json`; docs/check.md documents all fields."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": str(report.source),
        "root": None if report.root is None else str(report.root),
        "images": dict(report.images),
        "class_names": list(report.class_names),
        "counts": report.counts,
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity,
                "what": finding.what,
                "harm": finding.harm,
                "remedy": finding.remedy,
                "files": [{"paths": list(item.paths), "detail": item.detail} for item in finding.items],
            }
            for finding in report.findings
        ],
        "cost": None if report.cost is None else asdict(report.cost),
    }
