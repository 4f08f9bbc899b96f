"""The alternatives to compare with: input pipelines and training loops in Keras and PyTorch, at their best settings."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from photos import AUGMENTATION, NETWORKS, SIDE
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

BATCH = 32
CORES = 2


# ----- Keras -----


def image_data_generator(folder: Path, split: str) -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    augmentation = AUGMENTATION if split == "train" else {}
    return ImageDataGenerator(rescale=1 / 255, **augmentation).flow_from_directory(
        str(folder / split), target_size=(SIDE, SIDE), batch_size=BATCH, shuffle=split == "train"
    )


def image_dataset(folder: Path, split: str, *, everything: bool = False) -> Any:
    """Decoded once and cached in memory, augmented by Keras layers on all cores, prefetched.

    With `everything`, by all layers that Keras has for what imgtrain does; JPEG is TensorFlow's.
    """
    import keras
    import tensorflow as tf

    data = keras.utils.image_dataset_from_directory(
        str(folder / split), label_mode="categorical", image_size=(SIDE, SIDE), batch_size=None, verbose=False
    ).cache()
    if split == "train":
        layers = [
            keras.layers.RandomRotation(20 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            keras.layers.RandomShear(0.17, 0.17, fill_mode="nearest"),
            keras.layers.RandomZoom(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomFlip("horizontal_and_vertical"),
            keras.layers.RandomBrightness(0.2),
        ]
        mixing = [keras.layers.MixUp(0.4), keras.layers.CutMix(0.5)] if everything else []
        if everything:
            layers += [
                keras.layers.RandAugment(num_ops=2, factor=0.3),
                keras.layers.RandomColorJitter(
                    brightness_factor=0.2, contrast_factor=0.2, saturation_factor=0.2, hue_factor=0.05
                ),
                keras.layers.RandomGrayscale(0.1),
                keras.layers.RandomGaussianBlur(kernel_size=13),
            ]
        augment, erase = keras.Sequential(layers), keras.layers.RandomErasing(0.25)

        def compress(image: Any) -> Any:
            return tf.image.random_jpeg_quality(tf.cast(image, tf.uint8), 40, 95)

        def change(images: Any, labels: Any) -> Any:
            images = augment(images, training=True)
            if everything:
                images = tf.map_fn(compress, images, fn_output_signature=tf.uint8)
                images = tf.ensure_shape(images, (None, SIDE, SIDE, 3))
                images = erase(tf.cast(images, tf.float32), training=True)
            for layer in mixing:
                mixed = layer({"images": images, "labels": labels}, training=True)
                images, labels = mixed["images"], mixed["labels"]
            return images, labels

        data = data.shuffle(2000).batch(BATCH).map(change, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        data = data.batch(BATCH)
    return data.map(lambda images, labels: (images / 255, labels)).prefetch(tf.data.AUTOTUNE)


def keras_network(network: str, classes: int) -> Any:
    import keras

    layers = [keras.Input((SIDE, SIDE, 3))]
    for spec in NETWORKS[network]:
        name, given = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
        layer = getattr(keras.layers, name)
        layers.append(layer(**given) if isinstance(given, dict) else layer(given))
    model = keras.Sequential([*layers, keras.layers.Dense(classes, activation="softmax")])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


# ----- PyTorch -----


class Photos:
    """A map-style dataset of predecoded images, augmented with Pillow as in torchvision."""

    def __init__(self, folder: Path, *, augment: Any) -> None:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]
        self._images = [Image.open(file).convert("RGB") for file, _ in files]
        self._labels = [label for _, label in files]
        self.classes = len(classes)
        self._augment = augment

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        image = self._images[index]
        if self._augment is not None:
            image = self._augment(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.float().div_(255), self._labels[index]


def augment_with_pillow(image: Image.Image) -> Image.Image:
    """Rotate, shift, shear and zoom in one affine transform, then flip and brighten, as in `RandomAffine`."""
    draw = [random.random() for _ in range(9)]
    angle = np.deg2rad((2 * draw[0] - 1) * 20)
    shear = np.deg2rad((2 * draw[1] - 1) * 10)
    zoom_x, zoom_y = 0.8 + 0.4 * draw[2], 0.8 + 0.4 * draw[3]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, -np.sin(shear)], [0, np.cos(shear)]]) @ np.diag([zoom_x, zoom_y])
    center = np.full(2, (SIDE - 1) / 2)
    offset = center - linear @ center + (2 * np.array(draw[4:6]) - 1) * 0.1 * SIDE
    matrix = [*linear[0], offset[0], *linear[1], offset[1]]
    image = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    if draw[6] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw[7] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return ImageEnhance.Brightness(image).enhance(0.8 + 0.4 * draw[8])


def augment_everything_with_pillow(image: Image.Image) -> Image.Image:
    """Apply imgtrain's other operations as well, where there are Pillow functions by these, as torchvision does."""
    image = augment_with_pillow(image)
    for _ in range(2):
        image = random.choice(_RANDAUGMENT)(image, random.choice((-1, 1)))
    jitter = [
        lambda image: ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2)),
        lambda image: ImageEnhance.Contrast(image).enhance(random.uniform(0.8, 1.2)),
        lambda image: ImageEnhance.Color(image).enhance(random.uniform(0.8, 1.2)),
        lambda image: _rotate_hue(image, random.uniform(-0.05, 0.05)),
    ]
    random.shuffle(jitter)
    for operation in jitter:
        image = operation(image)
    if random.random() < 0.1:
        image = image.convert("L").convert("RGB")
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=random.randint(40, 95))
    image = Image.open(file).convert("RGB")
    if random.random() < 0.25:
        size = [int(SIDE * random.uniform(0.15, 0.57)) for _ in range(2)]
        corner = [random.randint(0, SIDE - side) for side in size]
        noise = np.random.default_rng().integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        image.paste(Image.fromarray(noise), tuple(corner))
    return image


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


# The operations of RandAugment at magnitude 9, of an image and a sign.
_RANDAUGMENT: list[Any] = [
    lambda image, sign: image,
    lambda image, sign: _affine(image, 1, 0.09 * sign, 0, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, 0.09 * sign, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 20 * sign, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, 0, 1, 20 * sign),
    lambda image, sign: image.rotate(9 * sign),
    *(
        lambda image, sign, enhance=enhance: enhance(image).enhance(1 + 0.27 * sign)
        for enhance in (
            ImageEnhance.Brightness,
            ImageEnhance.Color,
            ImageEnhance.Contrast,
            ImageEnhance.Sharpness,
        )
    ),
    lambda image, sign: ImageOps.posterize(image, 7),
    lambda image, sign: ImageOps.solarize(image, 178.5),
    lambda image, sign: ImageOps.autocontrast(image),
    lambda image, sign: ImageOps.equalize(image),
]


def _rotate_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    rotated = np.asarray(hue) + np.uint8(round(255 * turns) % 256)
    return Image.merge("HSV", (Image.fromarray(rotated), saturation, value)).convert("RGB")


def mix_batch(images: Any, one_hot: Any) -> tuple[Any, Any]:
    """Mix each image of a batch, NumPy's or PyTorch's, with the one before it, by MixUp or CutMix."""
    before = [-1, *range(len(images) - 1)]
    if random.random() < 0.5:
        share = random.betavariate(0.4, 0.4)
        images = share * images + (1 - share) * images[before]
    else:
        share = random.random()
        side = int(SIDE * (1 - share) ** 0.5)
        left, top = random.randint(0, SIDE - side), random.randint(0, SIDE - side)
        # Channels come last in NumPy, first in PyTorch.
        place = (slice(top, top + side), slice(left, left + side))
        part = (slice(None), *place) if images.shape[-1] == 3 else (slice(None), slice(None), *place)
        partners = images[before]
        images[part] = partners[part]
    return images, share * one_hot + (1 - share) * one_hot[before]


def _collate_mixed(samples: Any, *, classes: int) -> Any:
    import torch

    images, labels = torch.utils.data.default_collate(samples)
    return mix_batch(images, torch.eye(classes)[labels])


def torch_loader(folder: Path, split: str, *, everything: bool = False) -> Any:
    import torch

    train = split == "train"
    augment = augment_everything_with_pillow if everything else augment_with_pillow
    photos = Photos(folder / split, augment=augment if train else None)
    return torch.utils.data.DataLoader(
        photos,
        collate_fn=partial(_collate_mixed, classes=photos.classes) if train and everything else None,
        batch_size=BATCH,
        shuffle=train,
        num_workers=CORES,
        persistent_workers=True,
    )


def torch_network(network: str, classes: int) -> Any:
    import torch

    layers: list[Any] = []
    channels, side = 3, SIDE
    for spec in NETWORKS[network]:
        name, given = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
        if name == "Conv2D":
            same = given.get("padding") == "same"
            bias = given.get("use_bias", True)
            layers.append(torch.nn.Conv2d(channels, given["filters"], 3, padding=1 if same else 0, bias=bias))
            if "activation" in given:
                layers.append(torch.nn.ReLU())
            channels, side = given["filters"], side if same else side - 2
        elif name == "MaxPooling2D":
            layers.append(torch.nn.MaxPool2d(2))
            side //= 2
        elif name == "BatchNormalization":
            layers.append(torch.nn.BatchNorm2d(channels))
        elif name == "ReLU":
            layers.append(torch.nn.ReLU(inplace=True))
        elif name == "GlobalAveragePooling2D":
            layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        elif name == "Dropout":
            layers.append(torch.nn.Dropout(given))
        elif name == "Flatten":
            layers.append(torch.nn.Flatten())
            channels *= side * side
        else:
            layers += [torch.nn.Linear(channels, given["units"]), torch.nn.ReLU()]
            channels = given["units"]
    return torch.nn.Sequential(*layers, torch.nn.Linear(channels, classes))


def torch_epochs(folder: Path, network: str, *, bfloat16: bool, channels_last: bool) -> Iterator[float]:
    """Train one epoch and validate for each value requested; yields the validation accuracy."""
    import torch

    torch.set_num_threads(CORES)
    train, validation = torch_loader(folder, "train"), torch_loader(folder, "validation")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = torch_network(network, len(list((folder / "train").iterdir()))).to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    while True:
        model.train()
        for images, labels in train:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                loss = loss_of(model(images.to(memory_format=layout)), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            for images, labels in validation:
                right += int((model(images.to(memory_format=layout)).argmax(1) == labels).sum())
        yield right / len(validation.dataset)
