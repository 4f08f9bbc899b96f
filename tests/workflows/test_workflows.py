"""What the wiring decides by itself."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


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

    for name in imgtrain.__all__:
        assert callable(getattr(imgtrain, name)), name
    import imgtrain.workflows.workflows

    import imgtrain.augment.preview

    for name in imgtrain.__all__:
        assert callable(getattr(imgtrain, name)), name
