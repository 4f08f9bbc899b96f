"""RandAugment: torchvision's operations and strengths, held to Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from imgtrain.augment.apply import augment_batch
from imgtrain.augment.randaugment import Operation, choose_operations
from imgtrain.augment.sample import make_identity_params, sample_params
from imgtrain.config.schema import AugmentationConfig

# As in torchvision's RandAugment: black outside, the nearest pixel.
TORCHVISIONS = AugmentationConfig(fill_mode="constant", cval=0, interpolation_order=0)
LINEAR = AugmentationConfig(fill_mode="constant", cval=0)
HEIGHT, WIDTH = 48, 62


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


PILLOW = {
    Operation.IDENTITY: lambda image, _: image,
    # The AutoAugment authors' own matrices.
    Operation.SHEAR_X: lambda image, level: affine(image, 1, level, 0, 0, 1, 0),
    Operation.SHEAR_Y: lambda image, level: affine(image, 1, 0, 0, level, 1, 0),
    Operation.TRANSLATE_X: lambda image, pixels: affine(image, 1, 0, -pixels, 0, 1, 0),
    Operation.TRANSLATE_Y: lambda image, pixels: affine(image, 1, 0, 0, 0, 1, -pixels),
    Operation.ROTATE: lambda image, degrees: image.rotate(degrees, Image.Resampling.NEAREST),
    Operation.BRIGHTNESS: lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    Operation.COLOR: lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    Operation.CONTRAST: lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    Operation.SHARPNESS: lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    Operation.POSTERIZE: lambda image, bits: ImageOps.posterize(image, int(bits)),
    Operation.SOLARIZE: ImageOps.solarize,
    Operation.AUTO_CONTRAST: lambda image, _: ImageOps.autocontrast(image),
    Operation.EQUALIZE: lambda image, _: ImageOps.equalize(image),
}
EXACT = {
    Operation.IDENTITY,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
    Operation.POSTERIZE,
    Operation.SOLARIZE,
    Operation.AUTO_CONTRAST,
    Operation.EQUALIZE,
}


def choose(operation, *, magnitude, negative=False, height=HEIGHT, width=WIDTH):
    """Return what is drawn where the first uniform number means this operation."""
    uniforms = np.array([[[(operation + 0.5) / len(Operation)], [0.75 if negative else 0.25]]])
    operations, arguments = choose_operations(uniforms, magnitude=magnitude, height=height, width=width)
    assert operations.tolist() == [[operation]]
    return arguments[0, 0]


def apply(picture, *steps, augmentation=TORCHVISIONS):
    params = make_identity_params(1)
    for layer, (operation, argument) in enumerate(steps):
        params["operations"][0, layer], params["arguments"][0, layer] = operation, argument
    return augment_batch(picture[None], params, augmentation)[0]


def apply_pillow(picture, *steps):
    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    for operation, argument in steps:
        image = PILLOW[operation](image, argument)
    return np.asarray(image).reshape(picture.shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("magnitude", [0, 9, 17, 30])
@pytest.mark.parametrize("operation", Operation)
def test_each_operation_is_pillows(make_picture, operation, magnitude, negative, channels):
    picture = make_picture(HEIGHT, WIDTH, channels)
    step = (operation, choose(operation, magnitude=magnitude, negative=negative))
    difference = np.abs(apply(picture, step).astype(int) - apply_pillow(picture, step))
    if operation in EXACT:
        assert difference.max() == 0
    elif Operation.BRIGHTNESS <= operation <= Operation.SHARPNESS:
        assert difference.max() <= 1
    else:
        # Where a place is half-way between two pixels, either is the nearest.
        assert np.count_nonzero(difference) < 0.02 * difference.size


def test_magnitudes_are_torchvisions():
    assert choose(Operation.SHEAR_X, magnitude=10) == pytest.approx(0.1)
    assert choose(Operation.SHEAR_Y, magnitude=30, negative=True) == pytest.approx(-0.3)
    assert choose(Operation.TRANSLATE_X, magnitude=9, width=331) == 45
    assert choose(Operation.TRANSLATE_Y, magnitude=9, height=331, negative=True) == -45
    assert choose(Operation.ROTATE, magnitude=9) == pytest.approx(9)
    for operation in (Operation.BRIGHTNESS, Operation.COLOR, Operation.CONTRAST, Operation.SHARPNESS):
        assert choose(operation, magnitude=9) == pytest.approx(1.27)
        assert choose(operation, magnitude=30, negative=True) == pytest.approx(0.1)
    bits = [choose(Operation.POSTERIZE, magnitude=magnitude) for magnitude in (0, 3, 4, 11, 12, 27, 30)]
    assert bits == [8, 8, 7, 7, 6, 4, 4]
    assert choose(Operation.SOLARIZE, magnitude=0) == 255
    assert choose(Operation.SOLARIZE, magnitude=9, negative=True) == pytest.approx(178.5)


def test_color_operations_follow_each_other_as_in_pillow(make_picture):
    picture = make_picture(HEIGHT, WIDTH)
    steps = [
        (Operation.EQUALIZE, 0.0),
        (Operation.SOLARIZE, 200.0),
        (Operation.AUTO_CONTRAST, 0.0),
        (Operation.POSTERIZE, 5.0),
    ]
    assert (apply(picture, *steps) == apply_pillow(picture, *steps)).all()
    assert (apply(picture, *steps) != apply(picture, *steps[::-1])).any()


def test_geometric_operations_are_one_warp_in_their_order():
    picture = np.zeros((31, 31, 1), np.uint8)
    picture[15, 25] = 200
    turned_then_moved = apply(picture, (Operation.ROTATE, 90.0), (Operation.TRANSLATE_X, 4.0))
    moved_then_turned = apply(picture, (Operation.TRANSLATE_X, 4.0), (Operation.ROTATE, 90.0))
    assert np.argwhere(turned_then_moved[..., 0]).tolist() == [[5, 19]]
    assert np.argwhere(moved_then_turned[..., 0]).tolist() == [[1, 15]]


def test_geometric_operations_come_after_the_other_moves_and_before_the_colors(make_picture):
    picture = make_picture(HEIGHT, WIDTH)
    params = make_identity_params(1)
    params["flip_horizontal"] = True
    params["operations"][0, :2] = Operation.SOLARIZE, Operation.TRANSLATE_X
    params["arguments"][0, :2] = 100, 5
    got = augment_batch(picture[None], params, TORCHVISIONS)[0]
    wanted = apply_pillow(picture[:, ::-1], (Operation.TRANSLATE_X, 5), (Operation.SOLARIZE, 100))
    assert (got == wanted).all()


@pytest.mark.parametrize("operation", [Operation.SHEAR_X, Operation.SHEAR_Y, Operation.ROTATE])
def test_they_interpolate_as_the_warp_does(make_picture, operation):
    picture = make_picture(HEIGHT, WIDTH)
    smooth = apply(picture, (operation, 0.3), augmentation=LINEAR)
    assert (smooth != apply(picture, (operation, 0.3))).any()
    assert np.abs(smooth.astype(int) - picture)[5:-30, 5:-30].max() < 120


def test_every_operation_is_drawn_equally_often_with_either_sign():
    augmentation = AugmentationConfig.model_validate({"randaugment": {"layers": 3, "magnitude": 30}})
    params = sample_params(
        augmentation, seed=0, epoch=0, stream_indices=np.arange(5000), height=HEIGHT, width=WIDTH
    )
    operations, arguments = params["operations"], params["arguments"]
    assert not operations[:, 3:].any()
    for layer in range(3):
        counts = np.bincount(operations[:, layer], minlength=len(Operation))
        # Four standard deviations.
        assert np.abs(counts - 5000 / 14).max() < 4 * np.sqrt(5000 / 14)
        turned = arguments[:, layer][operations[:, layer] == Operation.ROTATE]
        assert set(np.round(turned, 6)) == {-30, 30}
    assert np.abs(np.corrcoef(operations[:, :3].T) - np.eye(3)).max() < 0.06


def test_no_strength_leaves_all_but_autocontrast_and_equalize_as_it_is(make_picture):
    picture = make_picture(HEIGHT, WIDTH)
    for operation in Operation:
        same = (apply(picture, (operation, choose(operation, magnitude=0))) == picture).all()
        assert same == (operation not in (Operation.AUTO_CONTRAST, Operation.EQUALIZE)), operation
