"""Imgtrain from Python: the README's lines, word for word, and what they promise."""

import re
import subprocess
import sys

import pytest
from repository import REPOSITORY

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_the_lines_of_the_readme_run(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    code = block.replace('"configs/', f'"{REPOSITORY}/configs/')
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.splitlines()[-1].split()[0])
    assert 0 <= accuracy <= 1
    assert (tmp_path / "runs/sample/model.keras").exists()
