"""Which images a folder holds, and what is said when it is the wrong folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtrain.dataset.index import index_folder
from imgtrain.errors import DataError


def problems_of(root: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        index_folder(root, where="cats.yaml:3: data.train", **options)  # type: ignore[arg-type]
    assert all(problem.where == "cats.yaml:3: data.train" for problem in caught.value.problems)
    return str(caught.value)


def test_labels_follow_the_sorted_names(make_files: Callable[..., Path]) -> None:
    root = make_files("b/2.jpg", "b/10.jpg", "a/x.png", "B/y.png", "ä/z.png")
    folder = index_folder(root)
    assert folder.class_names == ("B", "a", "b", "ä")
    assert folder.paths == ("B/y.png", "a/x.png", "b/10.jpg", "b/2.jpg", "ä/z.png")
    assert folder.labels.tolist() == [0, 1, 2, 2, 3]
    assert folder.counts().tolist() == [1, 1, 2, 1]
    assert folder.root.is_absolute()
    assert folder.file(1) == root / "a" / "x.png"
    assert folder.sizes.tolist() == [1] * 5
    assert folder.mtimes_ns[0] == (root / "B/y.png").stat().st_mtime_ns
    assert folder.labels.dtype == np.int32
    assert not folder.labels.flags.writeable


def test_suffixes_in_any_case(make_files: Callable[..., Path]) -> None:
    names = ["1.JPG", "2.Jpeg", "3.WEBP", "4.gif", "5.TIFF", "6.tif", "7.bmp", "8.ppm", "9.png"]
    root = make_files(*(f"a/{name}" for name in names), "b/x.txt", "b/y.jpg", "b/jpg", "b/zjpg")
    folder = index_folder(root)
    assert [path for path in folder.paths if path.startswith("a/")] == [f"a/{name}" for name in names]
    assert [path for path in folder.paths if path.startswith("b/")] == ["b/y.jpg"]
    assert set(folder.ignored) == {"b/x.txt", "b/jpg", "b/zjpg"}


def test_hidden_things_are_neither_read_nor_listed(make_files: Callable[..., Path]) -> None:
    root = make_files(
        "a/1.jpg", "a/._1.jpg", "a/.ipynb_checkpoints/1.jpg", "a/Thumbs.db", "a/@eaDir/t.jpg", "b/1.jpg",
        "__MACOSX/b/1.jpg", ".ipynb_checkpoints/x.jpg", "desktop.ini", ".DS_Store", "a/THUMBS.DB",
    )  # fmt: skip
    folder = index_folder(root, nested=True)
    assert folder.class_names == ("a", "b")
    assert folder.paths == ("a/1.jpg", "b/1.jpg")
    assert not folder.ignored


def test_loose_images_and_strays_are_ignored_with_the_reason(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "b/1.jpg", "loose.jpg", "README.md", "a/more/2.jpg")
    assert index_folder(root).ignored == {
        "README.md": "not an image suffix",
        "a/more/2.jpg": "is in a subfolder of its class folder",
        "loose.jpg": "is not in a class folder",
    }


def test_nested_takes_what_lies_deeper(make_files: Callable[..., Path]) -> None:
    root = make_files("Fruit/Apple/1.jpg", "Fruit/0.jpg", "Nut/Pea/Green/2.jpg")
    folder = index_folder(root, nested=True)
    assert folder.class_names == ("Fruit", "Nut")
    assert folder.paths == ("Fruit/0.jpg", "Fruit/Apple/1.jpg", "Nut/Pea/Green/2.jpg")


def test_leaf_makes_the_deepest_folders_classes(make_files: Callable[..., Path]) -> None:
    root = make_files(
        "Fruit/Apple/Granny Smith/1.jpg", "Fruit/Apple/Gala/1.jpg", "Fruit/Apple/Gala/2.jpg", "Fruit/Pear/Gala/1.jpg",
        "Fruit/Apple/mixed.jpg", "Nut/1.jpg", "Fruit/Plum/", "loose.jpg",
    )  # fmt: skip
    folder = index_folder(root, nested="leaf")
    assert folder.class_names == ("Fruit/Apple/Gala", "Fruit/Apple/Granny Smith", "Fruit/Pear/Gala", "Nut")
    assert folder.counts().tolist() == [2, 1, 1, 1]
    assert folder.paths[2] == "Fruit/Apple/Granny Smith/1.jpg"
    assert folder.ignored == {
        "Fruit/Apple/mixed.jpg": "is not in a deepest folder",
        "loose.jpg": "is not in a class folder",
    }


def test_leaves_of_another_folder_keep_the_labels(make_files: Callable[..., Path]) -> None:
    names = ("Fruit/Apple", "Fruit/Pear", "Nut/Pea")
    root = make_files("Nut/Pea/1.jpg", "Fruit/Pear/2.jpg")
    folder = index_folder(root, class_names=names, nested="leaf")
    assert folder.labels.tolist() == [1, 2]
    (root / "Fruit" / "Paer").mkdir()
    (root / "Fruit" / "Paer" / "1.jpg").write_bytes(b"x")
    text = problems_of(root, class_names=names, nested="leaf")
    assert "'Fruit/Paer' is not one of the classes" in text
    assert "did you mean 'Fruit/Pear'?" in text


def test_leaf_does_not_make_classes_of_splits(make_files: Callable[..., Path]) -> None:
    root = make_files("train/Fruit/Apple/1.jpg", "train/Nut/Pea/1.jpg", "test/Fruit/Apple/2.jpg")
    assert "names of splits" in problems_of(root, nested="leaf")


def test_special_files_are_never_opened(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "b/1.jpg")
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "broken.jpg").symlink_to(root / "gone.jpg")
    (root / "a" / "linked.jpg").symlink_to(root / "b" / "1.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root / "a")  # a socket's path is limited to about 100 bytes
        try:
            listener.bind("socket.jpg")
        finally:
            os.chdir(here)
        folder = index_folder(root)
    assert folder.paths == ("a/1.jpg", "a/linked.jpg", "b/1.jpg")
    assert folder.ignored == {
        "a/broken.jpg": "a broken link",
        "a/pipe.jpg": "a pipe",
        "a/socket.jpg": "a socket",
    }


def test_a_class_folder_may_be_a_link_and_deeper_links_only_with_follow_links(
    make_files: Callable[..., Path],
) -> None:
    root = make_files("a/1.jpg")
    store = make_files("deep/2.jpg", "3.jpg", root="store")
    (root / "b").symlink_to(store)
    (root / "a" / "more").symlink_to(store / "deep")
    assert index_folder(root).paths == ("a/1.jpg", "b/3.jpg")
    assert index_folder(root, nested=True).ignored == {
        "a/more": "a link to a folder, and follow_links is false"
    }
    followed = index_folder(root, nested=True, follow_links=True)
    assert followed.paths == ("a/1.jpg", "a/more/2.jpg", "b/3.jpg", "b/deep/2.jpg")


def test_links_in_a_circle_end(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "b/1.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "b" / "other").symlink_to(root / "a")
    folder = index_folder(root, nested=True, follow_links=True)
    assert folder.paths == ("a/1.jpg", "b/1.jpg", "b/other/1.jpg")


def test_given_classes_keep_their_order_and_may_be_missing_or_empty(make_files: Callable[..., Path]) -> None:
    root = make_files("cat/1.jpg", "dog/", "notes/readme.txt")
    folder = index_folder(root, class_names=("dog", "cat", "eel"))
    assert folder.class_names == ("dog", "cat", "eel")
    assert folder.labels.tolist() == [1]
    assert folder.counts().tolist() == [0, 1, 0]
    assert folder.ignored["notes"] == "a folder without images"


def test_an_unknown_class_is_an_error(make_files: Callable[..., Path]) -> None:
    text = problems_of(make_files("cat/1.jpg", "dgo/1.jpg", "dgo/2.jpg"), class_names=("cat", "dog"))
    assert "'dgo' is not one of the classes" in text
    assert "2 images" in text
    assert "did you mean 'dog'?" in text


def test_one_level_too_high_names_the_training_folder(make_files: Callable[..., Path]) -> None:
    root = make_files(
        "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg", "x.csv"
    )
    text = problems_of(root)
    assert "too high" in text
    assert "2 folders (test, train), 1 other file (x.csv)" in text
    assert f"did you mean {root / 'train'} (2 class folders: cat, dog; 2 images)?" in text
    assert "nested: true" in text


def test_too_high_although_one_folder_holds_loose_images(make_files: Callable[..., Path]) -> None:
    root = make_files("train/cat/1.jpg", "train/dog/1.jpg", "unlabelled/2.jpg")
    assert f"did you mean {root / 'train'} " in problems_of(root)


def test_two_levels_too_high(make_files: Callable[..., Path]) -> None:
    root = make_files("kaggle/PetImages/Cat/1.jpg", "kaggle/PetImages/Dog/1.jpg")
    assert f"did you mean {root / 'kaggle' / 'PetImages'} " in problems_of(root)


def test_nested_does_not_make_classes_of_splits(make_files: Callable[..., Path]) -> None:
    root = make_files("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg")
    text = problems_of(root, nested=True)
    assert "names of splits" in text
    assert f"did you mean {root / 'train'} " in text


def test_too_low_names_the_parent(make_files: Callable[..., Path]) -> None:
    root = make_files("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    text = problems_of(root / "cat")
    assert "only files: 2 images (1.jpg, 2.jpg)" in text
    assert f"did you mean {root} (2 class folders: cat, dog; 3 images)?" in text


def test_loose_images_without_classes_anywhere(make_files: Callable[..., Path]) -> None:
    text = problems_of(make_files("1.jpg", "2.jpg"))
    assert "only files: 2 images" in text
    assert "a subfolder named after the class" in text


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), "is empty"),
        (("a.txt", "b.csv"), "found 2 other files (a.txt, b.csv)"),
        (("a/", "b/x.txt"), "contains no images; found 2 folders (a, b)"),
    ],
)
def test_nothing_there(make_files: Callable[..., Path], files: tuple[str, ...], expected: str) -> None:
    assert expected in problems_of(make_files(*files))


def test_every_class_without_an_image_is_named(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "b/", "c/1.heic", "c/2.heic", "d/deep/1.jpg")
    text = problems_of(root)
    assert f"class folder {root / 'b'} contains no images; found nothing" in text
    assert f"class folder {root / 'c'} contains no images; found 2 other files (1.heic, 2.heic)" in text
    assert f"class folder {root / 'd'} contains no images itself, but 1 image in 1 subfolder (deep)" in text


def test_a_missing_folder_names_its_like(make_files: Callable[..., Path]) -> None:
    root = make_files("Training/a/1.jpg", "Testing/a/1.jpg")
    assert "did you mean 'Training'?" in problems_of(root / "Trainng")
    assert "did you mean 'Training'?" in problems_of(root / "train")
    text = problems_of(root / "nowhere" / "deeper")
    assert f"{root / 'nowhere' / 'deeper'} does not exist" in text
    assert f"{root} contains 2 folders (Testing, Training)" in text


def test_a_file_is_no_folder(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "data.zip")
    assert "is a file, not a folder" in problems_of(root / "a" / "1.jpg")
    assert "extract it" in problems_of(root / "data.zip")
    assert "does not exist" in problems_of(root / "a" / "1.jpg" / "x")


def test_folders_that_may_not_be_read_are_all_named(
    make_files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_files("a/1.jpg", "b/1.jpg", "c/1.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).rstrip("/").endswith(("/a", "/b")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    text = problems_of(root)
    assert text.count("cannot be read: Permission denied") == 2


def test_names_from_disk_are_escaped(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "evil\x1b[31m\n/readme.txt")
    text = problems_of(root)
    assert "\x1b" not in text
    assert "evil\\x1b[31m\\n" in text


def test_a_name_that_is_no_utf_8(make_files: Callable[..., Path]) -> None:
    root = make_files("a/1.jpg", "b/1.jpg")
    (Path(os.fsdecode(os.fsencode(root) + b"/a/\xff.jpg"))).write_bytes(b"x")
    folder = index_folder(root)
    assert folder.file(1).stat().st_size == 1
