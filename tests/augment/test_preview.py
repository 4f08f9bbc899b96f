from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from imgtrain.augment.preview import Versions, make_versions, preview_images, preview_sheet, write_preview
from imgtrain.batches.batches import Batches
from imgtrain.config.load import parse_config
from imgtrain.config.schema import AugmentationConfig
from imgtrain.dataset.index import index_folder
from imgtrain.dataset.split import Split
from imgtrain.errors import ConfigError, DataError, RunFileError
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


def versions_of(split, *, augmentation=AUGMENTATION, seed=3, images=6, epochs=3, **options):
    return list(
        make_versions(split, SETTINGS, augmentation, seed=seed, images=images, epochs=epochs, **options)
    )


class DecodedFolder:
    """A pixel store without a cache."""

    shape = SETTINGS.shape

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return len(self.folder)

    def read(self, indices, out=None):
        return np.stack([decode_image(self.folder.file(index), SETTINGS).pixels for index in indices])


def test_the_versions_are_what_the_epochs_of_training_see(split):
    # Validation images stand between the training images, as after `validation_split`.
    split = split.without([0, 4, 11])
    batches = Batches(
        pixels=DecodedFolder(split.folder),
        indices=split.indices,
        labels=split.labels,
        paths=split.paths,
        class_count=3,
        class_mode="sparse",
        batch_size=5,
        shuffle=True,
        seed=3,
        augmentation=AUGMENTATION,
        balance="oversample",
    )
    trained = [set() for _ in range(3)]
    for epoch, seen in enumerate(trained):
        images, _ = batches.to_arrays(epoch=epoch)
        names = [batches.paths[sample] for sample in batches.samples(epoch)]
        seen.update((name, image.tobytes()) for name, image in zip(names, images, strict=True))
    for image in versions_of(split):
        assert (image.pixels[0] == decode_image(split.folder.root / image.path, SETTINGS).pixels).all()
        for epoch in range(3):
            assert (image.path, image.pixels[1 + epoch].tobytes()) in trained[epoch]


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
        "imgtrain.augment.preview.decode_in_worker",
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


class TestSheet:
    def test_originals_stand_at_the_left_and_the_epochs_follow(self):
        pixels = np.empty((3, 100, 120, 3), np.uint8)
        pixels[0], pixels[1], pixels[2] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
        sheet = np.asarray(preview_sheet([Versions("cats", "cats/1.png", pixels)]))
        places = [np.argwhere((sheet == colour).all(axis=-1)) for colour in pixels[:, 0, 0]]
        assert [len(place) for place in places] == [100 * 120] * 3
        lefts = [place[:, 1].min() for place in places]
        assert lefts == sorted(lefts)
        assert len({place[:, 0].min() for place in places}) == 1

    @pytest.mark.parametrize(
        ("height", "width", "drawn"),
        [(1000, 500, (256, 128)), (28, 28, (112, 112)), (8, 4, (96, 48)), (150, 150, (150, 150))],
    )
    def test_large_images_are_scaled_down_and_small_ones_up(self, height, width, drawn):
        pixels = np.zeros((2, height, width, 3), np.uint8)
        pixels[...] = 0, 90, 250
        sheet = np.asarray(preview_sheet([Versions("a", "a/1.png", pixels)]))
        assert (sheet == (0, 90, 250)).all(axis=-1).sum() == 2 * drawn[0] * drawn[1]

    def test_a_sheet_of_very_many_images_stays_a_picture_that_can_be_opened(self):
        pixels = np.zeros((51, 64, 64, 3), np.uint8)
        sheet = preview_sheet([Versions("a", "a/1.png", pixels)] * 120)
        assert sheet.width * sheet.height < Image.MAX_IMAGE_PIXELS

    def test_transparent_places_show_the_paper(self):
        pixels = np.zeros((2, 100, 100, 4), np.uint8)
        pixels[0, ..., 3] = 255
        sheet = np.asarray(preview_sheet([Versions("a", "a/1.png", pixels)]))
        assert (sheet == 0).all(axis=-1).sum() == 100 * 100

    def test_grey_images(self):
        pixels = np.full((2, 100, 100, 1), 77, np.uint8)
        sheet = np.asarray(preview_sheet([Versions("a", "a/1.png", pixels)]))
        assert (sheet == 77).all(axis=-1).sum() >= 2 * 100 * 100

    def test_names_are_written_within_the_sheet_and_differ(self):
        pixels = np.zeros((2, 30, 30, 3), np.uint8)
        names = ["cats", "dogs", "\u732b", "\u72ac", "long " * 80 + "a", "new\nline\x1b[31m", "\udcff"]
        sheets = [preview_sheet([Versions(name, f"{name}/1.png", pixels)]) for name in names]
        assert len({sheet.size for sheet in sheets}) == 1
        assert len({sheet.tobytes() for sheet in sheets}) == len(names)
        for sheet in sheets:
            assert (np.asarray(sheet)[:, -8:] == 255).all()


class TestImages:
    def test_each_picture_has_a_name_of_its_own_that_sorts_as_the_sheet(self, split):
        versions = versions_of(split, images=4, epochs=2)
        named = list(preview_images(versions))
        names = [name for name, _ in named]
        assert names == sorted(set(names))
        assert names[0] == f"0001-cats-{versions[0].path[5:8]}-0-original.png"
        assert names[1] == f"0001-cats-{versions[0].path[5:8]}-epoch-001.png"
        expected = np.concatenate([image.pixels for image in versions])
        assert (np.stack([pixels for _, pixels in named]) == expected).all()

    def test_names_are_safe_on_any_file_system(self):
        pixels = np.zeros((2, 2, 2, 3), np.uint8)
        name = "\u732b" * 300 + '\n\udcff\\:"?*<>|'
        for file_name, _ in preview_images([Versions(name, f"x/{name}.jpg", pixels)]):
            assert len(file_name.encode()) <= 255
            assert not set('/\\\n:"?*<>|') & set(file_name)


class TestPreview:
    @pytest.fixture
    def config(self, root):
        return parse_config(
            {
                "data": {"train": str(root), "target_size": [24, 30]},
                "augmentation": {"rotation_range": 30},
                "training": {"seed": 3},
            }
        )

    def test_one_sheet(self, config, tmp_path):
        written = write_preview(config, output=tmp_path / "new" / "sheet.png", count=3, images=4, each=False)
        assert written == tmp_path / "new" / "sheet.png"
        with Image.open(written) as sheet:
            assert sheet.size == (8 + 4 * (120 + 8), 8 + 24 + 4 * (24 + 96 + 8))

    def test_each(self, config, tmp_path, split):
        written = write_preview(config, output=tmp_path / "each", count=3, images=4, each=True)
        expected = dict(preview_images(versions_of(split, augmentation=config.augmentation, images=4)))
        assert {file.name for file in written.iterdir()} == set(expected)
        for file in written.iterdir():
            with Image.open(file) as picture:
                assert (np.asarray(picture) == expected[file.name]).all()

    def test_without_output_it_writes_to_the_present_directory(self, config, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(write_preview(config, output=None, count=1, images=1, each=False)) == "preview-aug.png"
        assert str(write_preview(config, output=None, count=1, images=1, each=True)) == "preview-aug"
        assert (tmp_path / "preview-aug.png").is_file()
        assert len(list((tmp_path / "preview-aug").iterdir())) == 2

    @pytest.mark.parametrize("name", ["sheet", "sheet.txt"])
    def test_a_name_that_is_no_picture_is_refused(self, config, tmp_path, name):
        with pytest.raises(ConfigError, match=r"end it in \.png"):
            write_preview(config, output=tmp_path / name, count=1, images=1, each=False)

    @pytest.mark.parametrize("each", [False, True])
    def test_a_place_that_cannot_be_written_is_an_error(self, config, tmp_path, each):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(RunFileError, match="cannot be written"):
            write_preview(config, output=tmp_path / "file" / "sheet.png", count=1, images=1, each=each)
