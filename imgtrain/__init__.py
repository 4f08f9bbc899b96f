"""From folders of images and one YAML file to a trained, evaluated classifier whose numbers can be believed.

The names below are the public functions. They are imported when they are first used, so that `import imgtrain`
stays light and TensorFlow is started only by what needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtrain.audit.check import check
    from imgtrain.config.load import load_config, parse_config
    from imgtrain.config.schema import Config
    from imgtrain.errors import ImgtrainError
    from imgtrain.plan import make_plan
    from imgtrain.preview import write_preview
    from imgtrain.reporting import write_report
    from imgtrain.workflows import build_model, evaluate, open_batches, predict, train

__all__ = [
    "Config",
    "ImgtrainError",
    "build_model",
    "check",
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
    "build_model": "imgtrain.workflows",
    "check": "imgtrain.audit.check",
    "evaluate": "imgtrain.workflows",
    "load_config": "imgtrain.config.load",
    "make_plan": "imgtrain.plan",
    "open_batches": "imgtrain.workflows",
    "parse_config": "imgtrain.config.load",
    "predict": "imgtrain.workflows",
    "train": "imgtrain.workflows",
    "write_preview": "imgtrain.preview",
    "write_report": "imgtrain.reporting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
