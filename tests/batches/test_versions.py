from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from imgtrain.augment.preview import describe_label
from imgtrain.batches.batches import Batches
from imgtrain.batches.versions import make_versions
from imgtrain.config.load import parse_config
from imgtrain.config.schema import AugmentationConfig
from imgtrain.dataset.index import index_folder
from imgtrain.dataset.split import Split
from imgtrain.errors import DataError
from imgtrain.events import ignore
from imgtrain.pixels.decode import DecodeSettings, decode_image

AUGMENTATION = AugmentationConfig(rotation_range=30, horizontal_flip=True, brightness_range=(0.5, 1.5))
SETTINGS = DecodeSettings(24, 30)


@pytest.fixture
def root(tmp_path, make_folders):
    return make_folders(tmp_path, {"train": {"cats": 9, "dogs": 5, "emus": 2}}) / "train"


@pytest.fixture
def split(root):
    folder = index_folder(root)
    return Split("train", folder, np.arange(len(folder)))


def versions_of(split, *, augmentation=AUGMENTATION, seed=3, images=6, epochs=3, balance=None, emit=ignore):
    data = {"train": split.folder.root, "target_size": [24, 30], "balance": balance}
    config = parse_config({"data": data, "training": {"seed": seed}})
    config = config.model_copy(update={"augmentation": augmentation})
    return list(make_versions(config, split, images=images, epochs=epochs, emit=emit))


class DecodedFolder:
    """A pixel store without a cache."""

    shape = SETTINGS.shape

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return len(self.folder)

    def read(self, indices, out=None):
        return np.stack([decode_image(self.folder.file(index), SETTINGS).pixels for index in indices])


@pytest.mark.parametrize("balance", [None, "oversample"])
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5}])
def test_the_versions_are_what_the_epochs_of_training_see(split, balance, mixing):
    # Validation images stand between the training images, as after `validation_split`.
    split = split.without([0, 4, 11])
    augmentation = AUGMENTATION.model_copy(update=mixing)
    batches = Batches(
        pixels=DecodedFolder(split.folder),
        indices=split.indices,
        labels=split.labels,
        paths=split.paths,
        class_count=3,
        class_mode="categorical",
        batch_size=5,
        shuffle=True,
        seed=3,
        augmentation=augmentation,
        balance=balance,
    )
    trained = [{} for _ in range(3)]
    for epoch, seen in enumerate(trained):
        images, labels = batches.to_arrays(epoch=epoch)
        names = [batches.paths[sample] for sample in batches.samples(epoch)]
        for name, image, label in zip(names, images, labels, strict=True):
            seen[name, image.tobytes()] = describe_label(label, split.class_names)
    for image in versions_of(split, augmentation=augmentation, balance=balance):
        assert (image.pixels[0] == decode_image(split.folder.root / image.path, SETTINGS).pixels).all()
        for epoch in range(3):
            label = trained[epoch][image.path, image.pixels[1 + epoch].tobytes()]
            assert image.labels == () or image.labels[1 + epoch] == label
        assert (image.labels == ()) == (not mixing)


def test_a_mixed_image_tells_the_shares_of_its_classes(split):
    shown = versions_of(split, augmentation=AugmentationConfig(mixup=1.0), images=16, epochs=4)
    labels = [label for image in shown for label in image.labels[1:]]
    assert {len(label) for label in labels} == {1, 2}
    for image in shown:
        assert image.labels[0] == (image.class_name,)
        assert all(
            any(line.startswith(image.class_name) for line in label) or len(label) == 1
            for label in image.labels
        )


def test_partners_that_cannot_be_decoded_are_named_and_black(root, split):
    for file in root.glob("dogs/*"):
        file.write_bytes(b"not a picture")
    events = []
    cut = AugmentationConfig(mixup=1.0)
    shown = versions_of(split, augmentation=cut, images=3, epochs=6, emit=events.append)
    assert [image.class_name for image in shown if image.class_name == "dogs"] == []
    assert len(shown) == 3
    named = [event.text.split(": ")[0] for event in events]
    assert len(named) == len(set(named)) > 0


def test_the_images_are_spread_over_the_classes_in_file_order(split):
    shown = versions_of(split, images=6)
    assert Counter(image.class_name for image in shown) == {"cats": 2, "dogs": 2, "emus": 2}
    paths = [image.path for image in shown]
    assert paths == sorted(paths)
    assert all(image.path.startswith(f"{image.class_name}/") for image in shown)
    assert Counter(image.class_name for image in versions_of(split, images=8))["emus"] == 2


def test_the_seed_chooses_images_and_classes(split):
    chosen = [tuple(image.path for image in versions_of(split, seed=seed, images=2)) for seed in range(12)]
    assert chosen[0] == tuple(image.path for image in versions_of(split, seed=0, images=2))
    assert len(set(chosen)) > 6
    assert {path.split("/")[0] for paths in chosen for path in paths} == {"cats", "dogs", "emus"}


def test_fewer_images_than_asked_for_are_all_shown(split):
    assert [image.path for image in versions_of(split, images=99)] == list(split.paths)


def test_only_the_images_that_are_shown_are_decoded(split, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "imgtrain.batches.versions.decode_in_worker",
        lambda file, settings: decoded.append(file) or decode_image(file, settings),
    )
    versions_of(split, images=4)
    assert len(decoded) == 4


def test_a_broken_file_is_named_and_another_image_shown(root, split):
    for number in (0, 1, 2, 3):
        (root / "dogs" / f"{number:03d}.png").write_bytes(b"not a picture")
    events = []
    shown = versions_of(split, images=3, emit=events.append)
    assert [image.path for image in shown if image.class_name == "dogs"] in ([], ["dogs/004.png"])
    assert len(shown) == 3
    everything = versions_of(split, images=99, emit=(events := []).append)
    assert len(everything) == 12
    assert len(events) == 4
    assert all(event.severity == "warning" and "dogs" in event.text for event in events)


def test_nothing_that_can_be_decoded_is_an_error_with_every_file(root, split):
    for file in root.glob("*/*"):
        file.write_bytes(b"not a picture")
    with pytest.raises(DataError) as error:
        versions_of(split)
    assert len(error.value.problems) == 16
