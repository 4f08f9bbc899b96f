from __future__ import annotations

import pytest

from imgtrain.model.precision import Hardware, choose_precision

pytestmark = pytest.mark.tensorflow

PLAIN = Hardware(cpu_flags=frozenset({"avx2", "avx512f"}))
ZEN4 = Hardware(cpu_flags=frozenset({"avx512f", "avx512_bf16"}))
AMX = Hardware(cpu_flags=frozenset({"amx_bf16"}))
T4 = Hardware(compute_capabilities=((7, 5),))
A100 = Hardware(compute_capabilities=((8, 0),))
P100 = Hardware(compute_capabilities=((6, 0),))
MIXED = Hardware(cpu_flags=ZEN4.cpu_flags, compute_capabilities=((8, 0), (7, 5)))


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        (PLAIN, "float32"),
        (Hardware(), "float32"),
        (ZEN4, "bfloat16"),
        (AMX, "bfloat16"),
        (T4, "float16"),
        (A100, "bfloat16"),
        (P100, "float32"),
        (MIXED, "float16"),
    ],
)
def test_auto_takes_what_the_hardware_is_fast_at(hardware: Hardware, name: str) -> None:
    chosen = choose_precision("auto", hardware)
    assert (chosen.name, chosen.slow) == (name, False)
    assert chosen.reason.startswith(f"{name}: the ")


@pytest.mark.parametrize(
    ("asked", "hardware", "slow"),
    [
        ("bfloat16", PLAIN, True),
        ("float16", ZEN4, True),
        ("bfloat16", T4, True),
        ("float16", A100, False),
        ("float32", ZEN4, False),
        ("bfloat16", ZEN4, False),
    ],
)
def test_what_was_asked_for_is_obeyed(asked: str, hardware: Hardware, slow: bool) -> None:
    chosen = choose_precision(asked, hardware)
    assert (chosen.name, chosen.slow) == (asked, slow)
    assert ("slow on this hardware" in chosen.reason) == slow


def test_this_machine_has_a_precision() -> None:
    assert choose_precision("auto").name in ("float32", "bfloat16", "float16")
