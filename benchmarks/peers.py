"""The alternatives to compare with: input pipelines and training loops in Keras and PyTorch, at their best settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from photos import AUGMENTATION, NETWORKS, SIDE
from PIL import Image, ImageEnhance

BATCH = 32
CORES = 2


# ----- Keras -----


def image_data_generator(folder: Path, split: str) -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    augmentation = AUGMENTATION if split == "train" else {}
    return ImageDataGenerator(rescale=1 / 255, **augmentation).flow_from_directory(
        str(folder / split), target_size=(SIDE, SIDE), batch_size=BATCH, shuffle=split == "train"
    )


def image_dataset(folder: Path, split: str) -> Any:
    """Decoded once and cached in memory, augmented by Keras layers on all cores, prefetched."""
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
        augment = keras.Sequential(layers)
        data = data.shuffle(2000).batch(BATCH)
        data = data.map(
            lambda images, labels: (augment(images, training=True), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
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

    def __init__(self, folder: Path, *, augment: bool) -> None:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]
        self._images = [Image.open(file).convert("RGB") for file, _ in files]
        self._labels = [label for _, label in files]
        self._augment = augment

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        image = self._images[index]
        if self._augment:
            image = augment_with_pillow(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.float().div_(255), self._labels[index]


def augment_with_pillow(image: Image.Image) -> Image.Image:
    """Rotate, shift, shear and zoom in one affine transform, then flip and brighten, as in `RandomAffine`."""
    import torch

    draw = torch.rand(9).tolist()
    angle = np.deg2rad((2 * draw[0] - 1) * 20)
    shear = np.deg2rad((2 * draw[1] - 1) * 10)
    zoom_x, zoom_y = 0.8 + 0.4 * draw[2], 0.8 + 0.4 * draw[3]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, -np.sin(shear)], [0, np.cos(shear)]]) @ np.diag([zoom_x, zoom_y])
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - linear @ centre + (2 * np.array(draw[4:6]) - 1) * 0.1 * SIDE
    matrix = [*linear[0], offset[0], *linear[1], offset[1]]
    image = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    if draw[6] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw[7] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return ImageEnhance.Brightness(image).enhance(0.8 + 0.4 * draw[8])


def torch_loader(folder: Path, split: str) -> Any:
    import torch

    train = split == "train"
    return torch.utils.data.DataLoader(
        Photos(folder / split, augment=train),
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
            layers += [
                torch.nn.Conv2d(channels, given["filters"], 3, padding=1 if same else 0),
                torch.nn.ReLU(),
            ]
            channels, side = given["filters"], side if same else side - 2
        elif name == "MaxPooling2D":
            layers.append(torch.nn.MaxPool2d(2))
            side //= 2
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
