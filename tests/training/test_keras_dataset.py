from __future__ import annotations

import numpy as np
import pytest

from imgtrain.batches.batches import Batches
from imgtrain.config.schema import AugmentationConfig

pytestmark = pytest.mark.tensorflow


class Levels:
    """A pixel store: dark pictures and bright ones."""

    shape = (8, 8, 3)

    def __init__(self, labels):
        noise = np.random.default_rng(0).integers(0, 60, (len(labels), *self.shape))
        self.pixels = (noise + 150 * labels[:, None, None, None]).astype(np.uint8)

    def __len__(self):
        return len(self.pixels)

    def read(self, indices, out=None):
        return np.take(self.pixels, indices, axis=0, out=out)


class Recording(Batches):
    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    def batch(self, epoch, step):
        self.asked.append((epoch, step))
        return super().batch(epoch, step)


def make_batches(**options):
    labels = np.arange(70, dtype=np.int32) % 2
    return Recording(
        pixels=Levels(labels),
        indices=np.arange(70),
        labels=labels,
        class_count=2,
        class_mode="binary",
        batch_size=16,
        shuffle=True,
        augmentation=AugmentationConfig(horizontal_flip=True, rotation_range=10),
        **options,
    )


def make_model():
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("workers", [1, 3])
def test_plain_fit_trains_on_it_and_every_epoch_has_its_own_batches(workers):
    from imgtrain.training.keras_dataset import BatchDataset

    batches = make_batches()
    dataset = BatchDataset(batches, workers=workers)
    history = make_model().fit(dataset, epochs=12, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    assert dataset.epoch == 12
    # Keras looks at some batches of epoch 0 first, for their shapes; each thread may finish when it will.
    trained = batches.asked[-12 * len(batches) :]
    assert sorted(trained) == [(epoch, step) for epoch in range(12) for step in range(5)]


def test_class_weights_reach_the_loss():
    from imgtrain.training.keras_dataset import BatchDataset

    def loss(**options):
        return make_model().evaluate(BatchDataset(make_batches(**options)), verbose=0)[0]

    assert loss(class_weights=np.array([3, 3])) == pytest.approx(3 * loss(), rel=1e-5)


def test_items_are_the_batches_of_the_present_epoch_in_any_order():
    from imgtrain.training.keras_dataset import BatchDataset

    batches = make_batches()
    dataset = BatchDataset(batches, epoch=4)
    assert len(dataset) == 5
    for step in (3, 0, 4):
        assert (dataset[step][0] == batches.batch(4, step)[0]).all()
    dataset.on_epoch_end()
    assert dataset.epoch == 4  # it had not begun
    dataset.on_epoch_begin()
    assert dataset.epoch == 4
    dataset.on_epoch_end()
    assert (dataset[3][0] == batches.batch(5, 3)[0]).all()


def test_the_attributes_of_keras_iterators_are_there():
    from imgtrain.training.keras_dataset import BatchDataset

    batches = make_batches(paths=[f"{index}.png" for index in range(70)])
    data = BatchDataset(batches, class_names=["dark", "<b>bright"])
    assert data.class_indices == {"dark": 0, "<b>bright": 1}
    assert data.classes.tolist() == [0, 1] * 35
    assert data.filenames[:2] == ["0.png", "1.png"]
    assert (data.samples, data.batch_size, data.num_classes) == (70, 16, 2)
    assert data.image_shape == (8, 8, 3)
    assert data.samples // data.batch_size == 4


def test_next_goes_through_the_epochs_and_reset_begins_again():
    """The loop of the tutorials: `reset()`, the first batch, then `len(generator) - 1` more."""
    from imgtrain.training.keras_dataset import BatchDataset

    data = BatchDataset(make_batches())
    next(data)
    data.reset()
    first = [next(data) for _ in range(len(data))]
    assert sum(len(images) for images, _ in first) == 70
    for (images, labels), (again, same) in zip(first, data, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, same)
    following = data.next()
    assert data.epoch == 1
    assert not np.array_equal(following[0], first[0][0])
    np.testing.assert_array_equal(following[0], data.batches.batch(1, 0)[0])


def test_a_notebook_shows_counts_and_a_few_pictures():
    from imgtrain.training.keras_dataset import BatchDataset

    data = BatchDataset(make_batches(), class_names=["dark", "<b>bright"])
    assert repr(data) == "<BatchDataset: 70 images of 8×8×3, 2 classes, 5 batches of up to 16>"
    shown = data._repr_html_()
    assert shown.count("<img") == 8
    assert "&lt;b&gt;bright" in shown
    assert "<b>" not in shown


@pytest.mark.parametrize(
    ("target", "caption"),
    [
        (np.int32(1), "bright"),
        (np.float32([0, 1]), "bright"),
        (np.float32([0.25, 0.75]), "bright 75 %, dark 25 %"),
        (np.float32([0]), "dark"),
        (np.float32([0.25]), "dark 75 %, bright 25 %"),
    ],
)
def test_a_label_of_any_form_is_shown_by_its_classes(target, caption):
    from imgtrain.training.keras_dataset import BatchDataset

    assert BatchDataset(make_batches(), class_names=["dark", "bright"])._name_of(target) == caption
