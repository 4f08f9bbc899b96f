"""Choose the precision of training by hardware support."""

from __future__ import annotations

from dataclasses import dataclass

from imgtrain.model.runtime import tf
from imgtrain.run.machine import processor_flags

__all__ = ["POLICIES", "Hardware", "Precision", "choose_precision", "find_hardware"]

# oneDNN has kernels for these; without them bfloat16 is emulated, many times slower than float32.
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras dtype policy for each precision."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The precision of a run.

    Attributes:
        name: `float32`, `bfloat16` or `float16`: the dtype of activations and their gradients. Weights, preprocessing,
            output and loss are always float32.
        reason: The reason, as one sentence.
        slow: Whether the hardware is slow with the requested precision.
    """

    name: str
    reason: str
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Hardware:
    """The properties of the hardware that determine the precision.

    Attributes:
        cpu_flags: CPU flags of Linux; empty on other systems.
        compute_capabilities: (major, minor) of each GPU; empty without GPUs; (0, 0) if unknown.
    """

    cpu_flags: frozenset[str] = frozenset()
    compute_capabilities: tuple[tuple[int, int], ...] = ()


def find_hardware() -> Hardware:
    """Return the hardware available to this process."""
    gpus = tf.config.list_physical_devices("GPU")
    details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    return Hardware(
        cpu_flags=processor_flags(),
        compute_capabilities=tuple(detail.get("compute_capability", (0, 0)) for detail in details),
    )


def choose_precision(configured: str, hardware: Hardware | None = None) -> Precision:
    """Return the precision for `training.precision`.

    `auto` chooses bfloat16 on processors with AVX512-BF16 or AMX and on GPUs with compute capability ≥ 8.0, float16 on
    GPUs with compute capability ≥ 7.0, and otherwise float32.

    Args:
        configured: `auto`, `float32`, `bfloat16` or `float16`.
        hardware: Default: the hardware available to this process.
    """
    fast, reason = _fast_formats(find_hardware() if hardware is None else hardware)
    best = fast[0]
    if configured in ("auto", best):
        return Precision(best, f"{best}: {reason}")
    slow = configured not in fast
    comment = "slow on this hardware" if slow else f"auto would choose {best}"
    return Precision(configured, f"{configured} (configured; {comment}): {reason}", slow)


def _fast_formats(hardware: Hardware) -> tuple[tuple[str, ...], str]:
    """Return the fast precisions of the hardware, best one first, and why."""
    if hardware.compute_capabilities:
        major, minor = min(hardware.compute_capabilities)
        gpu = f"the GPU has compute capability {major}.{minor}"
        if major >= 8:
            return ("bfloat16", "float16", "float32"), gpu
        return (("float16", "float32") if major == 7 else ("float32",)), gpu
    for flag in _BFLOAT16_FLAGS:
        if flag in hardware.cpu_flags:
            return ("bfloat16", "float32"), f"the processor has {flag}"
    return ("float32",), "the processor has neither AVX512-BF16 nor AMX"
