"""Train image classifiers from class folders and one YAML file.

The names below are the public API. They are imported on first use, so that `import imgtrain` is fast and TensorFlow
is only imported when needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtrain.config.load import load_config, parse_config
    from imgtrain.config.schema import Config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.errors import ImgtrainError
    from imgtrain.workflows.check import check
    from imgtrain.workflows.compare import compare
    from imgtrain.workflows.evaluate import evaluate
    from imgtrain.workflows.library import build_model, open_batches
    from imgtrain.workflows.predict import predict
    from imgtrain.workflows.preview import write_preview
    from imgtrain.workflows.report import write_report
    from imgtrain.workflows.train import train

__all__ = [
    "Config",
    "ImgtrainError",
    "build_model",
    "check",
    "compare",
    "evaluate",
    "load_config",
    "make_plan",
    "open_batches",
    "parse_config",
    "predict",
    "train",
    "write_preview",
    "write_report",
]

_HOMES = {
    "Config": "imgtrain.config.schema",
    "ImgtrainError": "imgtrain.errors",
    "build_model": "imgtrain.workflows.library",
    "check": "imgtrain.workflows.check",
    "compare": "imgtrain.workflows.compare",
    "evaluate": "imgtrain.workflows.evaluate",
    "load_config": "imgtrain.config.load",
    "make_plan": "imgtrain.dataset.plan",
    "open_batches": "imgtrain.workflows.library",
    "parse_config": "imgtrain.config.load",
    "predict": "imgtrain.workflows.predict",
    "train": "imgtrain.workflows.train",
    "write_preview": "imgtrain.workflows.preview",
    "write_report": "imgtrain.workflows.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
