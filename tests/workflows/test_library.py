"""Imgtrain from Python: the README's lines, word for word, and what they promise."""

import re
import subprocess
import sys

import numpy as np
import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.tensorflow


@pytest.mark.slow
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


def test_a_part_of_the_validation_images_keeps_the_shares_of_the_classes(tmp_path, make_folders):
    from imgtrain.config.load import parse_config
    from imgtrain.dataset.plan import make_plan
    from imgtrain.workflows.library import open_batches

    make_folders(
        tmp_path, {"train": {"a": 4, "b": 4, "c": 4}, "validation": {"a": 40, "b": 20, "c": 20}}, side=8
    )
    data = {name: str(tmp_path / name) for name in ("train", "validation")}

    def labels(steps):
        config = parse_config(
            {
                "data": {
                    **data,
                    "target_size": [8, 8],
                    "class_mode": "sparse",
                    "batch_size": 4,
                    "cache": "memory",
                },
                "training": {"validation_steps": steps},
            }
        )
        validation = open_batches(make_plan(config)).validation
        return np.concatenate([labels for _, labels in (validation[step] for step in range(len(validation)))])

    np.testing.assert_allclose(np.bincount(labels(5)), [10, 5, 5], atol=1)
    assert len(labels(5)) == 20
    assert np.bincount(labels(100)).tolist() == [40, 20, 20]


def test_the_public_functions_stay_functions_after_the_modules_are_imported():
    import imgtrain
    import imgtrain.audit.check
    import imgtrain.workflows.evaluate
    import imgtrain.workflows.predict
    import imgtrain.workflows.preview
    import imgtrain.workflows.train

    for name in imgtrain.__all__:
        assert callable(getattr(imgtrain, name)), name
