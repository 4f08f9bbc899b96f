"""Leaks between the folders as they are on disk, not only between the splits made of them."""

import json
import shutil
from dataclasses import replace

import pytest

from imgtrain.config.load import parse_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import DataError
from imgtrain.pixels.load_images import leave_out_pictures, load_images


@pytest.fixture
def gather(image_folders, tmp_path):
    train = image_folders({"a": 10, "b": 10}, root="train")
    image_folders({"a": 3, "b": 3}, root="validation", seed=1)
    image_folders({"a": 3, "b": 3}, root="test", seed=2)

    def gather(**data):
        folders = {
            "train": str(train),
            "test": str(tmp_path / "test"),
            "cache": "memory",
            "target_size": [8, 8],
        }
        config = parse_config({"data": {**folders, **data}})
        events = []
        images = load_images(config, split_data(config), events.append)
        return images, [event.text for event in events if getattr(event, "severity", "") == "warning"]

    gather.root = tmp_path
    return gather


def copy_images(root, count, *, to="test/a", split="train"):
    for number in range(count):
        source = root / split / "ab"[number % 2] / f"{number // 2:02d}.png"
        shutil.copy(source, root / to / f"copy{number}.png")


def test_a_copy_of_a_held_out_image_is_a_leak_too(gather):
    images, warnings = gather(validation_split=0.5)
    assert not warnings
    for part in (images.train, images.validation):
        shutil.copy(
            gather.root / "train" / part.split.paths[0], gather.root / f"test/a/{part.split.name}.png"
        )
    with pytest.raises(DataError) as caught:
        gather(validation_split=0.5)
    assert "data.test: 2 of 8 test images have the same pixels as an image of data.train" in str(caught.value)
    assert "set `data.on_leak: drop` to drop these test images" in str(caught.value)
    _, (warning,) = gather(validation_split=0.5, on_leak="warn")
    assert warning.startswith("2 of 8 test images have the same pixels as an image of data.train, first a/")
    assert warning.endswith("the test scores would be too optimistic")


def test_a_test_image_in_a_validation_folder_of_its_own_is_told(gather):
    shutil.copy(gather.root / "validation/a/00.png", gather.root / "test/a/copy.png")
    _, warnings = gather(validation=str(gather.root / "validation"))
    assert "1 of 7 test images has the same pixels as an image of data.validation" in warnings[0]
    images, _ = gather(validation=str(gather.root / "validation"), on_leak="drop")
    assert (len(images.validation.split), len(images.test.split)) == (6, 6)


def test_an_image_in_all_three_folders_is_counted_once(gather):
    for split in ("validation", "test"):
        shutil.copy(gather.root / "train/a/00.png", gather.root / split / "b/copy.png")
    _, warnings = gather(validation=str(gather.root / "validation"), on_leak="warn")
    assert [warning.split(",")[0] for warning in warnings] == [
        "1 of 7 validation images has the same pixels as an image of data.train",
        "1 of 7 test images has the same pixels as an image of data.train",
    ]


def test_a_split_file_names_training_images(gather):
    copy_images(gather.root, 1)
    rows = [f"{file},{file.relative_to(gather.root).parts[0]}" for file in sorted(gather.root.rglob("*.png"))]
    (gather.root / "splits.csv").write_text("\n".join(["path,split", *rows]))
    with pytest.raises(DataError, match="1 of 7 test images has the same pixels as a training image, first"):
        gather(
            split_file=str(gather.root / "splits.csv"),
            validation=str(gather.root / "validation"),
        )


def test_drop_leaves_leaked_images_out_and_lists_them(gather):
    copy_images(gather.root, 2)
    copy_images(gather.root, 4, to="validation/b")
    images, warnings = gather(validation=str(gather.root / "validation"), on_leak="drop")
    assert [len(part.split) for part in images] == [20, 6, 6]
    assert warnings[0].startswith("4 of 10 validation images have the same pixels as an image of data.train")
    assert "dropped (`data.on_leak: drop`) and listed in data.json" in warnings[1]
    described = json.loads(json.dumps(images.describe()))["splits"]
    assert described["test"]["dropped"] == [
        {"path": "a/copy0.png", "same_pixels_as": {"split": "train", "path": "a/00.png"}},
        {"path": "a/copy1.png", "same_pixels_as": {"split": "train", "path": "b/00.png"}},
    ]
    assert "a/copy0.png" not in {image["path"] for image in described["test"]["images"]}
    assert described["train"]["dropped"] == []


def test_a_class_of_which_nothing_is_left_is_told(gather):
    for file in (gather.root / "test/a").iterdir():
        file.unlink()
    copy_images(gather.root, 2)
    images, warnings = gather(on_leak="drop")
    assert images.test.split.counts().tolist() == [0, 3]
    assert warnings[1] == "no test images of class a remain"


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_split_of_which_nothing_is_left_is_an_error(gather, name):
    for file in (gather.root / name).rglob("*.png"):
        file.unlink()
    copy_images(gather.root, 3, to=f"{name}/a")
    with pytest.raises(DataError) as caught:
        gather(validation=str(gather.root / "validation"), on_leak="drop")
    assert f"data.{name}: no {name} images remain: `data.on_leak: drop` drops all 3" in str(caught.value)


def test_a_drawn_split_keeps_equal_pictures_together_and_is_the_same_again(gather):
    for number in range(6):
        shutil.copy(gather.root / f"train/a/0{number}.png", gather.root / f"train/a/twin{number}.png")
    images, warnings = gather(validation_split=0.5)
    assert warnings == []
    digests = [{d.tobytes() for d in part.pixels.digests[part.split.indices]} for part in images]
    assert not digests[0] & digests[1]
    assert [len(part.split) for part in images] == [13, 13, 6]
    again, _ = gather(validation_split=0.5)
    assert again.fingerprint() == images.fingerprint()


def test_files_that_cannot_be_decoded_do_not_change_the_draw(gather):
    before, _ = gather(validation_split=0.5)
    for name in ("00.png", "01.png"):
        (gather.root / "train/a" / name).write_bytes(b"")
    after, _ = gather(validation_split=0.5, on_bad_image="skip")
    for was, now in ((before.train, after.train), (before.validation, after.validation)):
        assert set(was.split.paths) - {"a/00.png", "a/01.png"} == set(now.split.paths)


def test_pictures_that_training_dropped_are_left_out_whatever_they_are_called(gather):
    copy_images(gather.root, 3)
    images, _ = gather(on_leak="drop")
    pictures = images.test.dropped_pictures()
    assert len(pictures) == 3
    whole, _ = gather(on_leak="warn")
    warnings = []
    rest = leave_out_pictures(whole.test, pictures, lambda event: warnings.append(event.text))
    assert rest.split.paths == images.test.split.paths
    assert warnings[0].startswith("3 of 9 test images are dropped, as in training")
    assert leave_out_pictures(rest, pictures) is rest
    only = whole.test.split.without(rest.split.indices)
    with pytest.raises(DataError, match="3 of 3 test images are dropped"):
        leave_out_pictures(replace(whole.test, split=only), pictures)
