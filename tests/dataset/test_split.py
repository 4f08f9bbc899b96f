"""Which image belongs to which split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtrain.config.schema import Config
from imgtrain.dataset.holdout import draw_validation, stratified_group_split, stratified_split
from imgtrain.dataset.split import Split, Splits, split_data
from imgtrain.errors import DataError

label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=80)
shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32 - 1)


class TestHoldOut:
    @given(label_lists, shares, seeds)
    def test_every_class_gives_its_share(self, labels: list[int], share: float, seed: int) -> None:
        held = stratified_split(np.array(labels), np.arange(len(labels)), share, seed)
        assert held.shape == (len(labels),)
        for label in set(labels):
            count, given = labels.count(label), int(held[np.array(labels) == label].sum())
            if count == 1:
                assert given == 0
            else:
                assert 1 <= given <= count - 1
                assert given in (1, count - 1) or abs(given - share * count) <= 0.5

    @given(label_lists, shares, seeds)
    def test_the_same_arguments_give_the_same(self, labels: list[int], share: float, seed: int) -> None:
        groups = np.arange(len(labels)) // 3
        for draw in (stratified_split, stratified_group_split):
            first = draw(np.array(labels), groups, share, seed)
            assert np.array_equal(first, draw(np.array(labels), groups, share, seed))

    def test_another_seed_gives_another_and_not_the_first_files(self) -> None:
        labels = np.zeros(100, int)
        chosen = [stratified_split(labels, np.arange(100), 0.2, seed) for seed in range(5)]
        assert len({mask.tobytes() for mask in chosen}) == 5
        assert all(20 < np.flatnonzero(mask).mean() < 80 for mask in chosen)

    @settings(max_examples=200)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80), shares, seeds)
    def test_groups_stay_whole(self, images: list[tuple[int, int]], share: float, seed: int) -> None:
        labels, groups = map(np.array, zip(*images, strict=True))
        held = stratified_group_split(labels, groups, share, seed)
        for group in np.unique(groups):
            assert len(np.unique(held[groups == group])) == 1
        for label in np.unique(labels):
            assert not held[labels == label].all(), "a class lost its last training image"

    @given(st.lists(st.integers(2, 9), min_size=1, max_size=4), shares, seeds)
    def test_every_class_of_several_groups_gives_some(
        self, groups_of_class: list[int], share: float, seed: int
    ) -> None:
        labels = np.repeat(np.arange(len(groups_of_class)), [4 * count for count in groups_of_class])
        groups = np.arange(len(labels)) // 4
        held = stratified_group_split(labels, groups, share, seed)
        for label in range(len(groups_of_class)):
            assert 0 < held[labels == label].sum() < (labels == label).sum()

    def test_shares_by_group_are_near(self) -> None:
        rng = np.random.default_rng(3)
        labels, groups = rng.integers(0, 5, 3000), rng.integers(0, 150, 3000)
        held = stratified_group_split(labels, groups, 0.2, 0)
        for label in range(5):
            assert held[labels == label].mean() == pytest.approx(0.2, abs=0.03)

    def test_group_numbers_and_labels_may_have_gaps(self) -> None:
        labels, groups = np.array([7, 7, 7, 900, 900, 900]), np.array([5, 5, -3, 10**9, 4, 4])
        held = stratified_group_split(labels, groups, 0.5, 1)
        assert 0 < held[:3].sum() < 3
        assert 0 < held[3:].sum() < 3


def split(root: Path, **data: Any) -> Splits:
    data = {"train": root / "train", **data}
    return split_data(Config.model_validate({"data": data}))


def drawn(root: Path, **data: Any) -> Splits:
    return draw_validation(split(root, **data))


def problems_of(root: Path, **data: Any) -> str:
    with pytest.raises(DataError) as caught:
        drawn(root, **data)
    return str(caught.value)


class TestFolders:
    def test_labels_never_shift(self, make_files: Callable[..., Path]) -> None:
        root = make_files(
            "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/a/1.jpg", "test/c/1.jpg", "val/c/1.jpg"
        )
        splits = split(root, validation=root / "val", test=root / "test")
        assert [part.name for part in splits] == ["train", "validation", "test"]
        assert splits.class_names == ("a", "b", "c")
        assert splits.test is not None
        assert splits.test.labels.tolist() == [0, 2]
        assert splits.test.paths == ("a/1.jpg", "c/1.jpg")
        assert splits.warnings == (
            f"no validation images of 2 classes: a, b in {root / 'val'}",
            f"no test images of class b in {root / 'test'}",
        )

    def test_an_unknown_class_and_a_missing_folder_at_once(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/x/1.jpg")
        text = problems_of(root, validation=root / "val", test=root / "test")
        assert "'x' is not one of the classes" in text
        assert "val does not exist" in text

    def test_a_wrong_training_folder_does_not_hide_a_missing_test_folder(
        self, make_files: Callable[..., Path]
    ) -> None:
        root = make_files("train/", "val/a/1.jpg")
        text = problems_of(root, validation=root / "val", test=root / "gone")
        assert "train is empty" in text
        assert "gone does not exist" in text

    def test_classes_give_the_order_and_must_all_be_trained(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/no/1.jpg", "train/yes/1.jpg")
        assert split(root, classes=["yes", "no"]).train.labels.tolist() == [0, 1]
        assert split(root, classes=["yes", "no"]).train.paths == ("yes/1.jpg", "no/1.jpg")
        assert "no training images of class maybe" in problems_of(root, classes=["yes", "no", "maybe"])

    def test_binary_needs_exactly_two(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg")
        text = problems_of(root, class_mode="binary")
        assert "data.class_mode: binary requires exactly two classes" in text
        assert "contains 3: a, b, c" in text

    def test_one_class_is_nothing_to_tell_apart(self, make_files: Callable[..., Path]) -> None:
        assert "only one class, a" in problems_of(make_files("train/a/1.jpg"))

    def test_an_empty_test_folder_is_an_error(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/a/1.jpg", "train/b/1.jpg", "test/a/", "test/b/", "val/")
        text = problems_of(root, test=root / "test", validation=root / "val")
        assert f"data.test: {root / 'test'} contains no images" in text
        assert "val is empty" in text

    def test_images_that_are_not_used_are_told(self, make_files: Callable[..., Path]) -> None:
        root = make_files(
            "train/a/1.jpg", "train/b/1.jpg", "train/a/deep/2.jpg", "train/x.jpg", "train/n.txt"
        )
        first, second = split(root).warnings
        assert "1 path ignored (a/deep/2.jpg): is in a subfolder" in first
        assert "nested: true" in first
        assert "1 path ignored (x.jpg): is not in a class folder" in second


class TestValidationSplit:
    def test_is_stratified_and_seeded(self, make_files: Callable[..., Path]) -> None:
        root = make_files(
            *(f"train/a/{i}.jpg" for i in range(10)), *(f"train/b/{i}.jpg" for i in range(5)), "train/c/0.jpg"
        )
        splits = drawn(root, validation_split=0.2)
        assert splits.validation is not None
        assert splits.validation.counts().tolist() == [2, 1, 0]
        assert splits.train.counts().tolist() == [8, 4, 1]
        assert set(splits.train.indices) | set(splits.validation.indices) == set(range(16))
        assert splits.train.folder is splits.validation.folder
        assert "no validation images of class c" in " ".join(splits.warnings)
        assert np.array_equal(drawn(root, validation_split=0.2).validation.indices, splits.validation.indices)

    def test_nothing_to_hold_out_is_an_error(self, make_files: Callable[..., Path]) -> None:
        text = problems_of(make_files("train/a/1.jpg", "train/b/1.jpg"), validation_split=0.5)
        assert (
            "data.validation_split: cannot hold out validation images: every class has only one image" in text
        )

    def test_groups_are_kept_whole(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*(f"train/{name}/p{i // 4}_{i}.jpg" for name in "ab" for i in range(40)))
        splits = drawn(root, validation_split=0.25, group_by=r"/(p\d+)_")
        assert splits.validation is not None
        patients = [{path.split("/")[1].split("_")[0] for path in part.paths} for part in splits]
        assert not patients[0] & patients[1]
        assert splits.warnings == ()

    def test_names_that_do_not_match_are_listed(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/a/p1_1.jpg", "train/a/x.jpg", "train/b/p2_1.jpg", "train/b/y.jpg")
        text = problems_of(root, validation_split=0.5, group_by=r"(p\d+)_")
        assert "data.group_by: matches 2 training paths, but not a/x.jpg, b/y.jpg" in text

    def test_one_group_in_a_class_stays_in_training(self, make_files: Callable[..., Path]) -> None:
        root = make_files("train/a/p1_1.jpg", "train/a/p1_2.jpg", "train/b/p2_1.jpg", "train/b/p3_2.jpg")
        splits = drawn(root, validation_split=0.5, group_by=r"(p\d+)_")
        assert splits.train.counts().tolist() == [2, 1]
        assert splits.warnings == ("no validation images of class a: too few groups to hold one out",)

    def test_groups_that_also_stand_in_the_test_folder_are_told(
        self, make_files: Callable[..., Path]
    ) -> None:
        root = make_files(
            "train/a/p1_1.jpg", "train/b/p2_1.jpg", "test/a/p1_7.jpg", "test/a/p1_8.jpg", "test/b/other.jpg"
        )
        (warning,) = split(root, test=root / "test", group_by=r"(p\d+)_").warnings
        assert warning.startswith("1 group of data.group_by in both train and test (p1; 2 test images)")


class TestSplitFile:
    files = ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/3.jpg", "train/dog/4.jpg", "extra/cat/5.jpg")

    def write(self, root: Path, *lines: str, header: str = "path,split") -> Path:
        file = root / "splits.csv"
        file.write_text("\n".join([header, *lines]) + "\n")
        return file

    def test_overrides_the_folders(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*self.files)
        file = self.write(
            root,
            "cat/1.jpg,train",
            "dog/3.jpg,train",
            "dog/4.jpg,val",
            "cat/2.jpg,TEST",
            "extra/cat/5.jpg,test",
        )
        splits = split(root, split_file=file, test=root / "extra")
        assert splits.class_names == ("cat", "dog")
        assert splits.train.folder.root == root
        assert splits.train.paths == ("train/cat/1.jpg", "train/dog/3.jpg")
        assert splits.validation is not None
        assert splits.validation.paths == ("train/dog/4.jpg",)
        assert splits.test is not None
        assert splits.test.paths == ("extra/cat/5.jpg", "train/cat/2.jpg")
        assert splits.test.folder is splits.train.folder

    def test_paths_stay_short_below_the_training_folder(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*self.files)
        splits = split(root, split_file=self.write(root, "cat/1.jpg,train", "dog/3.jpg,train"))
        assert splits.train.folder.root == root / "train"
        assert splits.train.paths == ("cat/1.jpg", "dog/3.jpg")
        assert splits.validation is None

    def test_the_class_column_wins_and_files_may_lie_anywhere(self, make_files: Callable[..., Path]) -> None:
        root = make_files("pool/1.jpg", "pool/2.jpg", "train/")
        file = self.write(
            root, f"{root}/pool/1.jpg,train,yes", "pool/2.jpg,train,no", header="path, split ,class"
        )
        splits = split(root, split_file=file)
        assert splits.class_names == ("no", "yes")
        assert splits.train.paths == ("2.jpg", "1.jpg")

    def test_validation_split_divides_its_training_rows(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*self.files)
        file = self.write(root, "cat/1.jpg,train", "cat/2.jpg,train", "dog/3.jpg,train", "dog/4.jpg,train")
        splits = drawn(root, split_file=file, validation_split=0.5)
        assert splits.train.counts().tolist() == [1, 1]
        file = self.write(root, "cat/1.jpg,train", "cat/2.jpg,val", "dog/3.jpg,train", "dog/4.jpg,val")
        splits = drawn(root, split_file=file, validation_split=0.5)
        assert "data.validation_split is ignored" in splits.warnings[0]

    def test_groups_are_searched_below_the_folders_of_the_configuration(
        self, make_files: Callable[..., Path]
    ) -> None:
        names = ("train/cat/p1_1.jpg", "train/cat/p1_2.jpg", "train/dog/p2_3.jpg", "train/dog/p3_4.jpg")
        root = make_files(*names, "extra/cat/p1_5.jpg")
        rows = [f"{name.removeprefix('train/')},train,{name.split('/')[1]}" for name in names]
        file = self.write(root, *rows, "extra/cat/p1_5.jpg,test,cat", header="path,split,class")
        asked = {"split_file": file, "group_by": r"^[^/]+/(p\d+)_"}
        splits = drawn(root, test=root / "extra", validation_split=0.5, **asked)
        assert splits.train.paths[0].startswith("train/")
        assert splits.train.group_paths[0].startswith(("cat/", "dog/"))
        (warning,) = (text for text in splits.warnings if "data.group_by in both" in text)
        assert "(p1; 1 test image)" in warning
        # Of a folder that the configuration does not name, all that is known is where the files lie.
        elsewhere = drawn(root, **asked)
        assert elsewhere.test is not None
        assert elsewhere.test.group_paths == ("extra/cat/p1_5.jpg",)

    def test_all_bad_rows_are_named_with_their_line(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*self.files, "loose.jpg", "train/eel/1.jpg")
        file = self.write(
            root, "cat/1.jpg,train", "dog/3.jpg,trian", "cat/gone.jpg,train", "cat/1.jpg,test", "dog/4.jpg",
            "loose.jpg,train", "dog/4.jpg,train,extra", "dog/3.jpg,train", "eel/1.jpg,test",
        )  # fmt: skip
        text = problems_of(root, split_file=file)
        for expected in (
            "splits.csv:3: split must be train, validation or test; got 'trian'\n    did you mean 'train'?",
            "splits.csv:4: file cat/gone.jpg not found below data.train or next to the CSV file",
            "splits.csv:5: duplicate path cat/1.jpg, first in line 2",
            "splits.csv:6: must have one value per column",
            "splits.csv:7: cannot infer the class of loose.jpg from its folder",
            "splits.csv:8: must have one value per column",
            "splits.csv:10: 'eel' is not one of the classes\n    The classes are cat, dog",
        ):
            assert expected in text

    def test_a_flood_of_bad_rows_is_cut(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*self.files)
        text = problems_of(root, split_file=self.write(root, *(f"gone/{i}.jpg,train" for i in range(5000))))
        assert "and 4,980 more invalid rows" in text
        assert len(text.splitlines()) == 21

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "must have the columns path, split"),
            (b"file,set\na,b\n", "its first line is 'file,set'"),
            (b"path,split\n", "contains no rows"),
            (b"path,split\n\xff\xfe,train\n", "is not UTF-8"),
            (b"path,split\ncat/1.jpg,test\n", "contains no training images"),
        ],
    )
    def test_a_file_that_is_no_split_file(
        self, make_files: Callable[..., Path], content: bytes, expected: str
    ) -> None:
        root = make_files(*self.files)
        (root / "splits.csv").write_bytes(content)
        data = {"classes": ["cat", "dog"]} if b"cat/1.jpg,test" in content else {}
        assert expected in problems_of(root, split_file=root / "splits.csv", **data)

    def test_a_missing_file(self, make_files: Callable[..., Path]) -> None:
        assert "cannot be read: No such file" in problems_of(make_files(), split_file=Path("/gone.csv"))


def test_without_leaves_the_rest_sorted(make_files: Callable[..., Path]) -> None:
    whole = split(make_files("train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg")).train
    assert whole.without([1, 99]).paths == ("a/1.jpg", "b/3.jpg")
    assert len(whole.without(np.array([], int))) == 3
    assert isinstance(whole.without([0, 1, 2]), Split)
    assert whole.without([0, 1, 2]).counts().tolist() == [0, 0]
    assert not whole.indices.flags.writeable


def test_a_folder_that_splits_share_is_named_once(make_files: Callable[..., Path]) -> None:
    root = make_files("train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg", "train/b/4.jpg", "test/a/1.jpg")
    splits = drawn(root, validation_split=0.5, test=root / "test")
    assert [folder.root.name for folder in splits.folders] == ["train", "test"]
