"""Generate `docs/configuration.md` from the descriptions in the configuration schema.

python scripts/make_reference.py docs/configuration.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from imgtrain.config.reference import render_reference

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/configuration.md"))
    parser.parse_args().file.write_text(render_reference(), encoding="utf-8")
