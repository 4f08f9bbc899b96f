"""Compare two finished runs by their saved predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imgtrain.config.load import load_config
from imgtrain.dataset.groups import assign_groups
from imgtrain.dataset.split import find_group_paths
from imgtrain.errors import Problem, RunFileError
from imgtrain.evaluation.compare import Candidate, Comparison, compare
from imgtrain.evaluation.predictions import load_predictions
from imgtrain.run.run_directory import RunDirectory, read_json

__all__ = ["compare_runs"]

_ON_VALIDATION = (
    "compared on the validation images, because not both runs have test predictions. Training may have chosen the best "
    "epoch on these images, which favors the run that tried more epochs or settings; for a fair comparison, use --data "
    "with other images"
)


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare two runs on their test images, or if one has none, on their validation images.

    Images are matched by their pixels, not by their names.

    Args:
        a: A run directory.
        b: A run directory.

    Raises:
        ConfigError: `data.group_by` of a run is invalid.
        DataError: The images or classes of the runs differ.
        RunFileError: One of them is not a finished run, or they have no predictions of the same split.
    """
    runs = [RunDirectory(path) for path in (a, b)]
    problems = [
        Problem(path, "is not a run directory: it has no run.json", "for model files, use --data FOLDER")
        for path, run in zip((a, b), runs, strict=True)
        if not run.run.exists()
    ]
    if problems:
        raise RunFileError(problems)
    split = next(
        (name for name in ("test", "validation") if all(run.predictions(name).exists() for run in runs)), None
    )
    if split is None:
        names = [run.predictions(name).name for name in ("test", "validation") for run in runs[:1]]
        hint = "evaluate both on the same images: imgtrain compare A B --data FOLDER"
        raise RunFileError(
            [Problem(path, f"has {_list_predictions(run)}") for path, run in zip((a, b), runs, strict=True)]
            + [Problem("", f"both need {' or both '.join(names)}", hint)]
        )
    first, second = (_load(str(path), run, split) for path, run in zip((a, b), runs, strict=True))
    return compare(first, second, split=split, warnings=(_ON_VALIDATION,) if split == "validation" else ())


def _list_predictions(run: RunDirectory) -> str:
    found = [file.name for name in ("test", "validation") if (file := run.predictions(name)).exists()]
    return f"only {found[0]}" if found else "no predictions"


def _load(name: str, run: RunDirectory, split: str) -> Candidate:
    predictions = load_predictions(run.predictions(split))
    try:
        described = read_json(run.data)["splits"][split]
        digests = {image["path"]: image["digest"] for image in described["images"]}
        root = Path(described.get("folder", ""))  # needed only with a split file
        keys = [
            (digests[path], predictions.class_names[label])
            for path, label in zip(predictions.paths, predictions.labels, strict=True)
        ]
    except (KeyError, TypeError):
        hint = "train it again with this version of imgtrain"
        raise RunFileError(
            Problem(run.data, f"does not have the pixel hashes of the {split} images", hint)
        ) from None
    config = load_config(run.config)
    group_paths = find_group_paths(config, root, predictions.paths)
    groups = assign_groups(group_paths, config.data.group_by)
    return Candidate(name, replace(predictions, groups=groups), keys)
