"""Audit a configuration or a folder of images, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path

from PIL import Image

from imgtrain.audit.appearance import check_appearance
from imgtrain.audit.augmentation import check_augmentation
from imgtrain.audit.classes import check_classes
from imgtrain.audit.contact_sheet import draw_contact_sheet
from imgtrain.audit.cost import Cost, MeasureTraining, check_cost, estimate_cost, with_measurement
from imgtrain.audit.duplicates import Duplicates, check_duplicates, find_duplicates
from imgtrain.audit.files import check_files
from imgtrain.audit.findings import SEVERITIES, Finding
from imgtrain.audit.inventory import Inventory, take_inventory
from imgtrain.audit.names import check_names
from imgtrain.audit.propose_split import propose_split, render_split_file
from imgtrain.audit.result import AuditReport
from imgtrain.audit.shortcuts import check_shortcuts
from imgtrain.config.load import load_config
from imgtrain.config.schema import Config
from imgtrain.dataset.find_layout import find_layout, is_label_file
from imgtrain.dataset.image_size import with_target_size
from imgtrain.dataset.layout import count
from imgtrain.dataset.plan import make_plan
from imgtrain.dataset.split import Splits, split_data
from imgtrain.errors import ConfigError, DataError, ImgtrainError, Problem
from imgtrain.events import Emit, Event, Message, Progress, ignore
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.pixels.load_images import decode_splits, draw_splits
from imgtrain.run.run_directory import atomic_write, write_text

__all__ = ["check"]

# Without a configuration there is no target size: files are fully decoded, but only one pixel is kept.
_NO_PIXELS = DecodeSettings(1, 1, interpolation="nearest")

# These take a second to import, which is done while other threads decode if there are enough images.
_NEEDED_AFTER_DECODING = ("scipy.sparse.csgraph", "scipy.spatial", "scipy.stats", "sklearn.tree")
_MANY = 500


def check(
    source: Path | str,
    overrides: Sequence[str] = (),
    *,
    fix_split: Path | None = None,
    sheet: Path | None = None,
    measure_training: MeasureTraining | None = None,
    emit: Emit = ignore,
) -> AuditReport:
    """Audit a configuration and its data, or a folder of images.

    Args:
        source: A configuration file, or a folder or CSV file as for `imgtrain init`.
        overrides: As in `load_config`; only with a configuration.
        fix_split: Where to write a split file without leaks, for `data.split_file`.
        sheet: Where to write an image of duplicates and bad files; ends in .png.
        measure_training: Times a few training steps if there is no error; None leaves the time of an epoch unknown.
        emit: Called with progress events.

    Returns:
        The findings. A folder without a data set is reported as a finding.

    Raises:
        ConfigError: The configuration cannot be read, or an option is invalid.
        RunFileError: A file or the cache cannot be written.
    """
    source = Path(source)
    _check_options(source, overrides, fix_split, sheet)
    if source.is_dir() or is_label_file(source):
        return _check_folder(source, fix_split=fix_split, sheet=sheet, emit=emit)
    config = load_config(source, overrides)
    config, splits, findings = _plan(config)
    if splits is None:
        return _report(source, None, findings)
    splits, inventory, undrawn = _decode(config, splits, DecodeSettings.of(config.data), emit)
    findings += [finding for finding in undrawn if finding not in findings]
    copies = find_duplicates(inventory)
    cost = estimate_cost(config, inventory)
    findings += _check_data(config, splits, inventory, copies, target_size=config.data.size)
    findings += check_augmentation(config, splits.class_names)
    findings += check_appearance(config, inventory)
    if cost is not None and measure_training is not None and not _has_error([*findings, *check_cost(cost)]):
        emit(Message("timing a few training steps"))
        try:
            measured = measure_training(source, overrides)
        except ConfigError as error:
            findings += _as_findings(error)
        else:
            cost = cost if measured is None else with_measurement(cost, measured)
    findings += check_cost(cost) if cost else []
    _write(config, inventory, copies, findings, fix_split=fix_split, sheet=sheet, emit=emit)
    return _report(source, inventory, findings, cost)


def _has_error(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _check_folder(folder: Path, *, fix_split: Path | None, sheet: Path | None, emit: Emit) -> AuditReport:
    try:
        layout = find_layout(Path(os.path.abspath(folder)))  # noqa: PTH100 (resolve() would replace links)
    except ImgtrainError as error:
        return _report(folder, None, _as_findings(error))
    config = layout.config
    splits, inventory, _ = _decode(config, layout.splits, _NO_PIXELS, emit)
    copies = find_duplicates(inventory)
    findings = _as_notes(splits.notes)
    findings += _check_data(config, splits, inventory, copies, target_size=None)
    _write(config, inventory, copies, findings, fix_split=fix_split, sheet=sheet, emit=emit)
    return _report(folder, inventory, findings)


def _check_options(
    source: Path, overrides: Sequence[str], fix_split: Path | None, sheet: Path | None
) -> None:
    problems = []
    if overrides and (source.is_dir() or is_label_file(source)):
        problems.append(Problem("--set", f"requires a configuration; got {source}", "give a configuration"))
    if sheet is not None and sheet.suffix.lower() != ".png":
        problems.append(Problem("--sheet", f"must be a .png file; got {sheet}"))
    for option, path in (("--fix-split", fix_split), ("--sheet", sheet)):
        if path is not None and not path.absolute().parent.is_dir():
            problems.append(Problem(option, f"the folder {path.parent} does not exist"))
    if problems:
        raise ConfigError(problems)


def _plan(config: Config) -> tuple[Config, Splits | None, list[Finding]]:
    """Return the configuration with an image size, the splits (None if the images cannot be listed), and findings."""
    try:
        plan = make_plan(config)
    except ImgtrainError as error:
        findings = _as_findings(error)
        try:
            splits = split_data(config)
        except ImgtrainError:
            return with_target_size(config, None), None, findings
        return with_target_size(config, splits.train), splits, findings
    # The audit itself reports what the splits warn about, with the files.
    warnings = [warning for warning in plan.warnings if warning not in plan.splits.warnings]
    return plan.config, plan.splits, _as_notes(warnings)


def _as_notes(warnings: Sequence[str]) -> list[Finding]:
    return [
        Finding(
            "configuration",
            "note",
            warning,
            "training will use this value",
            "change it if this is not what you want",
        )
        for warning in warnings
    ]


def _as_findings(error: ImgtrainError) -> list[Finding]:
    code = "layout" if isinstance(error, DataError) else "configuration"
    return [
        Finding(
            code,
            "error",
            f"{problem.where}: {problem.what}" if problem.where else problem.what,
            "`train` stops with this error",
            problem.hint or "fix it as described",
        )
        for problem in error.problems
    ]


def _decode(
    config: Config, splits: Splits, settings: DecodeSettings, emit: Emit
) -> tuple[Splits, Inventory, list[Finding]]:
    """Return the splits as used in training, all their images, and why no validation images can be held out."""
    if sum(map(len, splits)) >= _MANY:
        emit = _importing_meanwhile(emit)
    data = config.data
    stores = decode_splits(
        splits, settings, cache=data.cache, cache_directory=data.cache_directory, emit=emit
    )
    findings = []
    try:
        splits = draw_splits(splits, stores)
    except DataError as error:
        findings = _as_findings(error)
    return splits, take_inventory(splits, stores), findings


def _importing_meanwhile(emit: Emit) -> Emit:
    """Return an `emit` function that also imports the modules needed next, one per progress event.

    Progress is reported in the calling thread. Importing in a separate thread could deadlock with this one inside a
    package with circular imports, which Python reports as an error.
    """
    modules = iter(_NEEDED_AFTER_DECODING)

    def listen(event: Event) -> None:
        emit(event)
        if isinstance(event, Progress) and event.done:
            for name in islice(modules, 1):
                import_module(name)

    return listen


def _check_data(
    config: Config,
    splits: Splits,
    inventory: Inventory,
    copies: Duplicates,
    *,
    target_size: tuple[int, int] | None,
) -> list[Finding]:
    data = config.data
    balanced = config.training.class_weight is not None or data.balance is not None
    return [
        *check_duplicates(inventory, splits, copies, on_leak=data.on_leak),
        *check_files(inventory, data, target_size=target_size),
        *check_classes(inventory, balanced=balanced),
        *check_shortcuts(inventory, copies.groups),
        *check_names(inventory, splits, group_by=data.group_by),
    ]


def _write(
    config: Config,
    inventory: Inventory,
    copies: Duplicates,
    findings: Sequence[Finding],
    *,
    fix_split: Path | None,
    sheet: Path | None,
    emit: Emit,
) -> None:
    if fix_split is not None:
        proposal = propose_split(inventory, copies, group_by=config.data.group_by, seed=config.training.seed)
        text, unnameable = render_split_file(inventory, proposal, config.data.train)
        write_text(fix_split, text)
        listed = len(proposal.splits) - unnameable
        emit(
            Message(
                f"wrote {fix_split}: {count(listed, 'image')}"
                f"{' in newly drawn splits' if proposal.drawn else ''}, "
                f"{len(proposal.left_out) + unnameable:,} dropped; use it with `data.split_file`"
            )
        )
        if unnameable:
            what = f"dropped {count(unnameable, 'image')} whose names cannot be written to a CSV file"
            emit(Message(what, "warning"))
    if sheet is not None:
        picture: Image.Image | None = draw_contact_sheet(findings, inventory.root)
        if picture is None:
            emit(Message("no duplicates or bad files were found: no contact sheet was written"))
            return
        with atomic_write(sheet) as aside:
            picture.save(aside, "PNG")
        emit(Message(f"wrote {sheet}"))


def _report(
    source: Path, inventory: Inventory | None, findings: Sequence[Finding], cost: Cost | None = None
) -> AuditReport:
    ordered = tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
    source = Path(os.path.abspath(source))  # noqa: PTH100 (resolve() would replace links)
    if inventory is None:
        return AuditReport(source, None, {}, (), ordered)
    images = {name: len(inventory.indices_of(name)) for name in inventory.split_names}
    return AuditReport(source, inventory.root, images, inventory.class_names, ordered, cost)
