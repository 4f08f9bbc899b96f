"""The whole augmentation of a batch: what it is made of, in which order, and what it depends on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtrain.augment import color
from imgtrain.augment.apply import augment_batch
from imgtrain.augment.filters import blur, compress
from imgtrain.augment.randaugment import Operation
from imgtrain.augment.sample import make_identity_params, sample_params
from imgtrain.config.schema import AugmentationConfig

EVERYTHING = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
    "brightness_range": [0.7, 1.3],
    "channel_shift_range": 20,
    "horizontal_flip": True,
    "randaugment": {"layers": 2, "magnitude": 9},
    "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05},
    "grayscale": 0.2,
    "gaussian_blur": [0.1, 2.0],
    "jpeg_quality": [30, 90],
    "erasing": 0.5,
}

fraction = st.floats(0, 1)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "rotation_range": st.floats(0, 180),
        "zoom_range": st.floats(0, 0.9),
        "brightness_range": st.tuples(fraction, st.floats(1, 3)),
        "channel_shift_range": st.floats(0, 255),
        "vertical_flip": st.booleans(),
        "fill_mode": st.sampled_from(["nearest", "constant", "reflect", "wrap"]),
        "randaugment": st.fixed_dictionaries({"layers": st.integers(1, 8), "magnitude": st.integers(0, 30)}),
        "color_jitter": st.fixed_dictionaries(
            {
                "brightness": st.floats(0, 5),
                "contrast": st.floats(0, 5),
                "saturation": st.floats(0, 5),
                "hue": st.floats(0, 0.5),
            }
        ),
        "grayscale": fraction,
        "gaussian_blur": st.tuples(fraction, st.floats(1, 9)),
        "jpeg_quality": st.tuples(st.integers(1, 50), st.integers(50, 100)),
        "erasing": fraction,
    },
)


def make_params(**numbers):
    params = make_identity_params(1)
    for name, value in numbers.items():
        params[name] = value
    return params


def augment_one(picture, **numbers):
    return augment_batch(picture[None], make_params(**numbers), AugmentationConfig())[0]


def draw(augmentation, count, *, height, width, seed=0):
    return sample_params(
        augmentation, seed=seed, epoch=0, stream_indices=np.arange(count), height=height, width=width
    )


@settings(max_examples=100, deadline=None)
@given(
    options=OPTIONS,
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    cut=st.integers(0, 6),
)
def test_any_options_give_any_part_of_a_batch_the_same_pixels(options, seed, channels, height, width, cut):
    augmentation = AugmentationConfig.model_validate(options)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, height, width, channels), dtype=np.uint8)
    before = pixels.copy()
    params = draw(augmentation, 6, height=height, width=width, seed=seed)
    whole = augment_batch(pixels, params, augmentation)
    parts = [
        augment_batch(pixels[part], params[part], augmentation) for part in np.split(np.arange(6), [cut])
    ]
    assert whole.dtype == np.uint8
    assert (np.concatenate(parts) == whole).all()
    assert (pixels == before).all()


def test_threads_do_not_matter(make_picture):
    augmentation = AugmentationConfig.model_validate(EVERYTHING)
    pictures = np.stack([make_picture(40, 50, seed=seed) for seed in range(24)])
    params = draw(augmentation, 24, height=40, width=50)
    together = augment_batch(pictures, params, augmentation)
    with ThreadPoolExecutor(6) as pool:
        single = list(
            pool.map(
                lambda i: augment_batch(pictures[i : i + 1], params[i : i + 1], augmentation)[0], range(24)
            )
        )
    assert (together == np.stack(single)).all()
    assert len({image.tobytes() for image in together}) == 24


@pytest.mark.parametrize(
    "options",
    [
        {"color_jitter": {}},
        {"color_jitter": {"brightness": 0, "hue": 0}},
        {"grayscale": 0, "erasing": 0},
        {"brightness_range": [1, 1], "zoom_range": [1, 1]},
        {"gaussian_blur": [0, 0]},
        {"gaussian_blur": [0, 0.1]},
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_strength_changes_nothing(make_picture, options, channels):
    augmentation = AugmentationConfig.model_validate(options)
    pictures = np.stack([make_picture(20, 30, channels, seed=seed) for seed in range(4)])
    params = draw(augmentation, 4, height=20, width=30)
    assert (augment_batch(pictures, params, augmentation) == pictures).all()


def test_the_order_of_operations(make_picture):
    """As the module says: Keras's, RandAugment's, jitter, gray, blur, JPEG, and erasing last."""
    picture = make_picture(40, 50)
    got = augment_one(
        picture,
        channel_shift=20,
        brightness=1.2,
        operations=[Operation.POSTERIZE, Operation.SHARPNESS, *[0] * 6],
        arguments=[4, 1.9, *[0] * 6],
        jitter=[1.1, 0.7, 1.6, 0.1],
        jitter_order=1,  # hue before saturation
        grayscale=True,
        blur_sigma=0.8,
        jpeg_quality=40,
        erase_box=[3, 4, 20, 30],
        erase_noise=1,
    )
    step = augment_one(picture, channel_shift=20, brightness=1.2)
    for operation, argument in ((Operation.POSTERIZE, 4), (Operation.SHARPNESS, 1.9)):
        step = augment_one(step, operations=[operation, *[0] * 7], arguments=[argument, *[0] * 7])
    color.change_brightness(step, 1.1)
    color.change_contrast(step, 0.7)
    color.rotate_hue(step, 0.1)
    color.change_saturation(step, 1.6)
    color.remove_color(step)
    blur(step, 0.8)
    compress(step, 40)
    assert (got[30:] == step[30:]).all()
    assert (got[:, 20:] == step[:, 20:]).all()
    # Not compressed: the noise still has all its levels, in every channel by itself.
    noise = got[4:30, 3:20]
    assert (noise[..., 0] != noise[..., 1]).mean() > 0.9


def test_every_order_of_the_jitter_is_another(make_picture):
    picture = make_picture(30, 30)
    results = {
        augment_one(picture, jitter=[1.4, 1.5, 1.9, 0.15], jitter_order=order).tobytes()
        for order in range(24)
    }
    assert len(results) == 24


def test_alpha_is_moved_and_erased_and_otherwise_kept(make_picture):
    picture = make_picture(30, 40, 4)
    changes = {
        "operations": [Operation.EQUALIZE, Operation.SHARPNESS, Operation.SOLARIZE, *[0] * 5],
        "arguments": [0, 1.5, 120, *[0] * 5],
        "jitter": [1.2, 0.8, 1.3, 0.1],
        "blur_sigma": 1.0,
        "jpeg_quality": 50,
    }
    changed = augment_one(picture, **changes)
    assert (changed[..., 3] == picture[..., 3]).all()
    assert (changed[..., :3] == augment_one(picture[..., :3].copy(), **changes)).all()
    moved = augment_one(picture, flip_horizontal=True, **changes)
    assert (moved[..., 3] == picture[:, ::-1, 3]).all()
    erased = augment_one(picture, erase_box=[0, 0, 40, 15], erase_noise=2)
    assert (erased[:15, :, 3] != picture[:15, :, 3]).mean() > 0.9
    assert (erased[15:] == picture[15:]).all()
