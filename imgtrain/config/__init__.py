"""The configuration: one frozen, validated object, created from a YAML file and the command line."""

from __future__ import annotations

from imgtrain.config.load import load_config, parse_config
from imgtrain.config.schema import Config

__all__ = ["Config", "load_config", "parse_config"]
