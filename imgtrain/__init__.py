"""Train image classifiers from class folders and one YAML file.

The names below are the public API. They are imported on first use, so that `import imgtrain` is fast and TensorFlow
is only imported when needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtrain.api import (
        build_model,
        check,
        compare,
        evaluate,
        export_model,
        fit,
        open_batches,
        predict,
        preview,
        train,
        write_preview,
        write_report,
    )
    from imgtrain.config.load import load_config, parse_config
    from imgtrain.config.schema import Config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.errors import ImgtrainError

    __version__: str

__all__ = [
    "Config",
    "ImgtrainError",
    "__version__",
    "build_model",
    "check",
    "compare",
    "evaluate",
    "export_model",
    "fit",
    "load_config",
    "make_plan",
    "open_batches",
    "parse_config",
    "predict",
    "preview",
    "train",
    "write_preview",
    "write_report",
]

# Where the names are that are not in `imgtrain.api`.
_HOMES = {
    "Config": "imgtrain.config.schema",
    "ImgtrainError": "imgtrain.errors",
    "load_config": "imgtrain.config.load",
    "make_plan": "imgtrain.dataset.plan",
    "parse_config": "imgtrain.config.load",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("imgtrain")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "imgtrain.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
