"""Other names of the values of an option, from other libraries and other spellings of English."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["suggest_value"]

_GRAYSCALE = (
    "grey",
    "gray",
    "greyscale",
    "grayscale8",
    "bw",
    "b/w",
    "black and white",
    "mono",
    "monochrome",
    "l",
    "gray8",
)
_SYNONYMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "color_mode": {
        "grayscale": _GRAYSCALE,
        "rgb": ("rgb888", "rgb24", "bgr", "bgr888", "color", "colour", "truecolor"),
        "rgba": ("rgba8888", "rgba32", "bgra", "argb", "rgb+alpha", "alpha"),
    },
    "class_mode": {
        "categorical": ("multiclass", "multi_class", "multi-class", "one_hot", "one-hot", "onehot"),
        "sparse": ("int", "integer", "integers", "index", "ordinal"),
        "binary": ("bool", "boolean", "two", "sigmoid"),
    },
    "interpolation": {
        "bilinear": ("linear", "antialias"),
        "bicubic": ("cubic",),
        "box": ("area",),
        "lanczos": ("lanczos3", "lanczos4", "lanczos5"),
        "nearest": ("nearest_neighbor", "nearest_neighbour", "nn", "none"),
    },
    "resize": {
        "stretch": ("squash", "squish", "distort", "fill", "none"),
        "crop": ("center_crop", "centre_crop", "cover", "crop_to_aspect_ratio"),
        "pad": ("letterbox", "contain", "padding", "pad_to_aspect_ratio"),
    },
    "balance": {"oversample": ("oversampling", "over", "upsample", "balanced", "true")},
    "on_bad_image": {"skip": ("ignore", "drop", "warn"), "error": ("raise", "stop")},
    "on_leak": {"warn": ("ignore", "warning"), "drop": ("skip", "remove"), "error": ("raise", "stop")},
    "cache": {
        "memory": ("ram",),
        "disk": ("file",),
        "none": ("off", "no", "false"),
        "auto": ("on", "yes", "true"),
    },
    "fill_mode": {
        "nearest": ("edge", "replicate", "border"),
        "constant": ("black", "zero", "zeros"),
        "reflect": ("mirror", "symmetric", "reflect_101"),
        "wrap": ("circular", "periodic", "tile"),
    },
    "interpolation_order": {"0": ("nearest",), "1": ("linear", "bilinear"), "3": ("cubic", "bicubic")},
    "precision": {
        "float16": ("fp16", "half", "mixed_float16", "16", "16-mixed"),
        "bfloat16": ("bf16", "mixed_bfloat16", "bf16-mixed"),
        "float32": ("fp32", "single", "full", "32"),
        "auto": ("mixed", "amp"),
    },
    "mode": {"min": ("minimum", "minimize", "lower"), "max": ("maximum", "maximize", "higher")},
}


def suggest_value(key: str | int, value: object) -> str:
    """Return `did you mean 'grayscale'?` for `grey`; empty if no other name of a value of the option is known.

    Args:
        key: The name of the option, such as `color_mode`.
        value: As given by the user.
    """
    text = str(value).strip().lower()
    for name, others in _SYNONYMS.get(str(key), {}).items():
        if text in others:
            return f"did you mean {name!r}?"
    return ""
