from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imgtrain.augment.preview import Versions, describe_label, preview_images, preview_sheet


class TestSheet:
    def test_originals_stand_at_the_left_and_the_epochs_follow(self):
        pixels = np.empty((3, 100, 120, 3), np.uint8)
        pixels[0], pixels[1], pixels[2] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
        sheet = np.asarray(preview_sheet([Versions("cats", "cats/1.png", pixels)]))
        places = [np.argwhere((sheet == color).all(axis=-1)) for color in pixels[:, 0, 0]]
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

    def test_mixed_labels_are_written_below_their_pictures(self):
        pixels = np.zeros((3, 100, 120, 3), np.uint8)
        plain = np.asarray(preview_sheet([Versions("cats", "cats/1.png", pixels)] * 2))
        labels = (("cats",), ("cats 63 %", "dogs 37 %"), ("cats",))
        mixed = np.asarray(preview_sheet([Versions("cats", "cats/1.png", pixels, labels)] * 2))
        line = (mixed.shape[0] - plain.shape[0]) // 4
        assert line == 24
        # A line of text below the original, two below the first version.
        ink = (mixed < 100).all(axis=-1)
        below = 8 + 24 + 24 + 100
        for column, lines in enumerate(labels):
            left = 8 + column * 128
            written = [ink[below + 24 * place :][:24, left : left + 120].any() for place in range(2)]
            assert written == [True, len(lines) == 2]


@pytest.mark.parametrize(
    ("shares", "label"),
    [
        ([0, 1, 0], ("b",)),
        ([0.37, 0, 0.63], ("c 63 %", "a 37 %")),
        ([0.5, 0.5, 0], ("a 50 %", "b 50 %")),
        ([0.004, 0, 0.996], ("c",)),
    ],
)
def test_a_label_in_words(shares, label):
    assert describe_label(np.array(shares, np.float32), ["a", "b", "c"]) == label


class TestImages:
    def test_each_picture_has_a_name_of_its_own_that_sorts_as_the_sheet(self):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (4, 3, 6, 7, 3), dtype=np.uint8)
        paths = ["cats/001.png", "cats/x/001.png", "cats/002.png", "dogs/001.png"]
        versions = [Versions(path[:4], path, part) for path, part in zip(paths, pixels, strict=True)]
        named = list(preview_images(versions))
        names = [name for name, _ in named]
        assert names == sorted(set(names))
        assert names[0] == "0001-cats-001-0-original.png"
        assert names[1] == "0001-cats-001-epoch-001.png"
        expected = np.concatenate([image.pixels for image in versions])
        assert (np.stack([pixels for _, pixels in named]) == expected).all()

    def test_names_are_safe_on_any_file_system(self):
        pixels = np.zeros((2, 2, 2, 3), np.uint8)
        name = "\u732b" * 300 + '\n\udcff\\:"?*<>|'
        for file_name, _ in preview_images([Versions(name, f"x/{name}.jpg", pixels)]):
            assert len(file_name.encode()) <= 255
            assert not set('/\\\n:"?*<>|') & set(file_name)
