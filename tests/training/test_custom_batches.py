"""`imgtrain.fit` on data sets that imgtrain did not make."""

import numpy as np
import pytest

import imgtrain

pytestmark = pytest.mark.tensorflow

LABELS = np.arange(24) % 3
LEVELS = 90 * LABELS[:, None, None, None]
IMAGES = (np.random.default_rng(0).integers(0, 60, (24, 4, 4, 3)) + LEVELS).astype(np.uint8)
SPARSE = "sparse_categorical_crossentropy"


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def make_model(loss="categorical_crossentropy", outputs=3):
    from imgtrain.model.runtime import keras

    keras.utils.set_random_seed(0)
    output = keras.layers.Dense(outputs, activation="softmax" if outputs > 1 else "sigmoid")
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), output]
    )
    model.compile(keras.optimizers.Adam(0.1), loss, metrics=["accuracy"])
    return model


def make_sequence(images=IMAGES, labels=None, names=()):
    from imgtrain.model.runtime import keras

    class Sequence(keras.utils.PyDataset):
        class_names = names
        epochs = 0

        def __len__(self):
            return 3

        def __getitem__(self, step):
            part = slice(8 * step, 8 * step + 8)
            return images[part], (one_hot(LABELS) if labels is None else labels)[part]

        def on_epoch_end(self):
            self.epochs += 1

    return Sequence()


def make_config(**training):
    return imgtrain.parse_config({"data": {"train": "."}, "training": training})


def test_a_custom_sequence_is_trained_and_the_best_epoch_kept():
    model, data = make_model(), make_sequence(names=["a", "b", "c"])
    config = make_config(epochs=6, early_stopping={"patience": 6})
    history = imgtrain.fit(model, data, make_sequence(names=["a", "b", "c"]), config=config)
    assert len(history.epochs) == data.epochs == 6
    best = min(history.epochs, key=lambda epoch: epoch.logs["val_loss"])
    assert history.best_epoch == best.number
    loss = model.evaluate(IMAGES, one_hot(LABELS), verbose=0)[0]
    assert loss == pytest.approx(best.logs["val_loss"], rel=1e-4)


def test_a_tensorflow_dataset_of_integer_labels_is_trained():
    from imgtrain.model.runtime import tf

    images = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    data = images.batch(5)
    events = []
    model, config = make_model(SPARSE), make_config(epochs=4)
    history = imgtrain.fit(model, data, config=config, on_event=events.append)
    assert history.epochs[-1].logs["loss"] < history.epochs[0].logs["loss"]
    assert any("early_stopping is not used" in getattr(event, "text", "") for event in events)
    with pytest.raises(imgtrain.ImgtrainError, match="unknown or infinite") as caught:
        imgtrain.fit(make_model(SPARSE), data.repeat())
    assert caught.value.problems[0].hint == "set training.steps_per_epoch"
    with pytest.raises(imgtrain.ImgtrainError, match=r"call `.batch\(32\)`"):
        imgtrain.fit(make_model(SPARSE), images)


@pytest.mark.parametrize(
    ("data", "loss", "outputs", "told"),
    [
        ({"images": IMAGES[:, :3]}, "categorical_crossentropy", 3, "images are 3×4×3; the model takes 4×4×3"),
        ({"labels": LABELS}, "categorical_crossentropy", 3, "to_categorical"),
        ({"labels": one_hot(LABELS)[:, :2]}, "categorical_crossentropy", 3, "the model has 3 classes"),
        ({"labels": LABELS + 1}, SPARSE, 3, r"labels are in \[0, 2\]"),
        ({"labels": LABELS}, "binary_crossentropy", 1, r"labels are in \[0, 1\]"),
        ({"labels": LABELS[:20]}, SPARSE, 3, "train, batch 3: 8 images, but 4 labels"),
        ({"names": ["a", "b"]}, "categorical_crossentropy", 3, r"has 2 classes \(a, b\); the model has 3"),
    ],
)
def test_what_does_not_fit_is_named_with_its_batch(data, loss, outputs, told):
    with pytest.raises(imgtrain.ImgtrainError, match=told):
        imgtrain.fit(make_model(loss, outputs), make_sequence(**data))


def test_the_classes_of_both_data_sets_must_agree():
    with pytest.raises(
        imgtrain.ImgtrainError, match="has the classes a, c, b; the training data has a, b, c"
    ):
        imgtrain.fit(make_model(), make_sequence(names=["a", "b", "c"]), make_sequence(names=["a", "c", "b"]))


def test_other_objects_and_models_that_are_not_compiled_are_refused():
    from imgtrain.model.runtime import keras

    with pytest.raises(imgtrain.ImgtrainError, match=r"must be a keras\.utils\.PyDataset.*got list"):
        imgtrain.fit(make_model(), [(IMAGES, LABELS)])
    with pytest.raises(imgtrain.ImgtrainError, match="is not compiled"):
        imgtrain.fit(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()]), make_sequence())
