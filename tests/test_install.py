"""An installation from source says on which platforms it cannot work."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest
from repository import REPOSITORY


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that pip runs, without the build backend that only an installation has."""
    interface = types.ModuleType("interface")
    interface.MetadataHookInterface = object
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", interface)
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("system", "machine", "libc", "bits", "said"),
    [
        ("Linux", "x86_64", "glibc", 64, ""),
        ("Linux", "aarch64", "glibc", 64, ""),
        ("Darwin", "arm64", "", 64, ""),
        ("Windows", "AMD64", "", 64, ""),
        ("Linux", "x86_64", "", 64, "such as Alpine"),
        ("Linux", "armv7l", "glibc", 32, "32-bit Python"),
        ("Linux", "ppc64le", "glibc", 64, "Linux on ppc64le"),
        ("Darwin", "x86_64", "", 64, "macOS on x86_64"),
        ("Windows", "ARM64", "", 64, "Windows on ARM64"),
        ("FreeBSD", "amd64", "", 64, "FreeBSD is not supported"),
    ],
)
def test_platforms_without_tensorflow_are_named(
    hook: Any, system: str, machine: str, libc: str, bits: int, said: str
) -> None:
    found = hook.find_platform_problem(system=system, machine=machine, libc=libc, bits=bits)
    assert said in found
    assert bool(said) == bool(found)


def test_the_installation_ends_with_a_sentence(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {}
    hook.SupportedPlatform().update(metadata)
    assert list(metadata) == ["keywords"]
    monkeypatch.setattr(hook.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(hook.platform, "system", lambda: "Linux")
    with pytest.raises(
        SystemExit, match=r"Linux on riscv64 is not supported\. imgtrain requires 64-bit Python"
    ):
        hook.SupportedPlatform().update({})
