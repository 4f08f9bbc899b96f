"""Labels from a CSV file or from file names give the same index as class folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgtrain.config import load_config
from imgtrain.config.load import parse_config
from imgtrain.dataset.holdout import draw_validation
from imgtrain.dataset.split import Splits, find_group_paths, split_data
from imgtrain.errors import ConfigError, ImgtrainError

FLAT = ("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg")
ROWS = "a.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n"


def split(root: Path, **data: Any) -> Splits:
    return split_data(parse_config({"data": {"train": str(root / "images"), **data}}, base=root))


def labels(root: Path, text: str | bytes, **data: Any) -> Splits:
    content = text.encode() if isinstance(text, str) else text
    (root / "labels.csv").write_bytes(content)
    return split(root, **{"labels": "labels.csv", **data})


def problems_of(call: Callable[[], object]) -> str:
    with pytest.raises(ImgtrainError) as caught:
        call()
    return str(caught.value)


class TestLabels:
    def test_give_the_same_index_as_folders(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*FLAT)
        splits = labels(root, "filename,label\n" + ROWS)
        assert splits.class_names == ("cat", "dog")
        assert splits.train.paths == ("a.jpg", "c.jpg", "b.jpg", "d.jpg")
        assert splits.train.group_paths == splits.train.paths
        assert splits.train.labels.tolist() == [0, 0, 1, 1]
        assert splits.train.folder.sizes.tolist() == [1] * 4
        assert (splits.warnings, splits.validation, splits.test) == ((), None, None)
        assert splits.notes == (
            "labels.csv: paths from column 'filename', labels from column 'label';"
            " name the columns in data.labels if this is wrong",
        )

    def test_given_columns_are_not_announced(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*FLAT)
        asked = {"file": "labels.csv", "path": "what", "label": "1"}
        splits = labels(root, "1,what,label\ncat,a.jpg,x\ndog,b.jpg,x\n", labels=asked)
        assert splits.train.paths == ("a.jpg", "b.jpg")
        assert splits.notes == ()
        assert splits.warnings == (
            f"{root / 'images'}: 2 paths ignored (c.jpg, d.jpg): has no row in labels.csv",
        )

    @pytest.mark.parametrize(
        ("text", "columns"),
        [
            # Kaggle's files: names without suffix, other columns, semicolons, an index without a name.
            ("id_code,diagnosis\na,cat\nb,dog\n", ("id_code", "diagnosis")),
            ("lesion_id,image_id,dx,age\nL1,a,cat,3\nL2,b,dog,4\n", ("image_id", "dx")),
            ("label;image\ncat;a.jpg\ndog;b.jpg\n", ("image", "label")),
            (",Image,Class\n0,images/a.jpg,cat\n1,images\\b.jpg,dog\n", ("Image", "Class")),
            ("\ufeff file name , y \n a.jpg , cat \n\n b.jpg , dog \n", ("file name", "y")),
            ("x\tz\na.jpg\tcat\nb.jpg\tdog\n", ("x", "z")),
        ],
    )
    def test_columns_are_guessed_by_content_and_name(
        self, make_files: Callable[..., Path], text: str, columns: tuple[str, str]
    ) -> None:
        splits = labels(make_files(*FLAT), text)
        assert splits.train.paths == ("a.jpg", "b.jpg")
        assert splits.class_names == ("cat", "dog")
        assert f"paths from column {columns[0]!r}, labels from column {columns[1]!r}" in splits.notes[0]

    def test_labels_that_are_also_file_names(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*(f"images/{number}.png" for number in range(6)))
        rows = "".join(f"{number % 2},{number}\n" for number in range(6))
        splits = labels(root, "a,b\n" + rows)
        assert splits.train.counts().tolist() == [3, 3]

    def test_file_names_are_found_in_subfolders(self, make_files: Callable[..., Path]) -> None:
        root = make_files("images/part1/a.jpg", "images/part2/b.JPG", "images/part2/c.png")
        splits = labels(root, "image,label\na,cat\nb.JPG,dog\nc,dog\n")
        assert splits.train.paths == ("part1/a.jpg", "part2/b.JPG", "part2/c.png")

    def test_a_split_column(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*FLAT)
        rows = "a.jpg,cat,train\nb.jpg,dog,Training\nc.jpg,cat,valid\nd.jpg,dog,TEST\n"
        splits = labels(root, "path,class,Set\n" + rows)
        assert [part.paths for part in splits] == [("a.jpg", "b.jpg"), ("c.jpg",), ("d.jpg",)]
        assert "splits from column 'Set'" in splits.notes[0]

    def test_a_column_of_other_values_is_not_a_split(self, make_files: Callable[..., Path]) -> None:
        splits = labels(make_files(*FLAT), "path,label,set\na.jpg,cat,1\nb.jpg,dog,2\n")
        assert splits.test is None

    def test_the_split_is_that_of_the_folder(self, make_files: Callable[..., Path]) -> None:
        root = make_files("images/a.jpg", "images/b.jpg", "test/c.jpg", "test/d.jpg", "test/a2.jpg")
        splits = labels(root, "filename,label\na,cat\nb,dog\nc,cat\ntest/d.jpg,dog\n", test="test")
        assert splits.test is not None
        assert splits.train.paths == ("images/a.jpg", "images/b.jpg")
        assert splits.test.paths == ("test/c.jpg", "test/d.jpg")
        assert splits.test.group_paths == ("c.jpg", "d.jpg")
        assert splits.warnings == (f"{root}: 1 path ignored (test/a2.jpg): has no row in labels.csv",)
        text = problems_of(lambda: labels(root, "filename,label\na,cat\nb,dog\n", test="test"))
        assert "data.test" in text
        assert "labels no test images" in text

    def test_the_same_name_in_two_folders_is_not_guessed(self, make_files: Callable[..., Path]) -> None:
        root = make_files("images/1.jpg", "images/2.jpg", "test/1.jpg", "test/2.jpg")
        rows = "file,label,split\n1,cat,train\n2,dog,train\n1,dog,test\n2,cat,test\n"
        splits = labels(root, rows, test="test")
        assert splits.test is not None
        assert splits.test.paths == ("test/2.jpg", "test/1.jpg")
        text = problems_of(lambda: labels(root, "file,label\n1,cat\n2,dog\n", test="test"))
        assert f"labels.csv:2: 1 matches 2 files: {root}/images/1.jpg, {root}/test/1.jpg" in text
        assert "write more of the path" in text

    def test_groups_and_validation_split_work_as_with_folders(self, make_files: Callable[..., Path]) -> None:
        names = [f"p{number // 4}_{number}" for number in range(40)]
        root = make_files(*(f"images/{name}.jpg" for name in names))
        rows = "".join(f"{name},{'cat' if number < 20 else 'dog'}\n" for number, name in enumerate(names))
        splits = draw_validation(
            labels(root, "id,label\n" + rows, validation_split=0.25, group_by=r"(p\d+)_")
        )
        assert splits.validation is not None
        assert splits.validation.counts().tolist() in ([4, 4], [8, 4], [4, 8])
        patients = [{path.split("_")[0] for path in part.paths} for part in splits]
        assert not patients[0] & patients[1]

    def test_group_paths_of_a_run_are_those_of_training(self, make_files: Callable[..., Path]) -> None:
        root = make_files("images/x/a.jpg", "images/x/b.jpg", "test/x/c.jpg")
        (root / "labels.csv").write_text("f,l\nx/a.jpg,0\nx/b.jpg,1\nx/c.jpg,0\n")
        asked = {"train": "images", "test": "test", "labels": "labels.csv"}
        config = parse_config({"data": asked}, base=root)
        test = split_data(config).test
        assert test is not None
        assert find_group_paths(config, test.folder.root, test.paths) == test.group_paths == ("x/c.jpg",)

    def test_a_split_file_takes_its_classes_from_the_labels(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*FLAT)
        (root / "splits.csv").write_text("path,split\na.jpg,train\nb.jpg,train\nc.jpg,test\n")
        splits = labels(root, "filename,label\n" + ROWS, split_file="splits.csv")
        assert splits.test is not None
        assert splits.train.labels.tolist() == [0, 1]
        assert splits.test.paths == ("c.jpg",)
        text = problems_of(
            lambda: labels(root, "filename,label\na.jpg,cat\nb.jpg,dog\n", split_file="splits.csv")
        )
        assert "splits.csv:4: cannot infer the class of c.jpg from data.labels" in text

    def test_all_bad_rows_are_named_with_their_line(self, make_files: Callable[..., Path]) -> None:
        text = problems_of(
            lambda: labels(
                make_files(*FLAT),
                "filename,label,split\na.jpg,cat,train\nb.jpg,,train\nc.jepg,cat,train\na.jpg,dog,train\n"
                ",cat,train\nd.jpg,dog,trian\nb.jpg,dog,train,x\nb.jpg,cat,train\nb.jpg,cat,test\n",
            )
        )
        for expected in (
            "labels.csv:3: has no label in column 'label'",
            "labels.csv:4: file c.jepg not found below data.train or next to the CSV file\n    did you mean 'c.jpg'?",
            "labels.csv:5: a.jpg is 'dog', but 'cat' in line 2\n    keep one of the rows",
            "labels.csv:6: has no path in column 'filename'",
            "labels.csv:7: split must be train, validation or test; got 'trian'\n    did you mean 'train'?",
            "labels.csv:8: must have one value per column; got b.jpg,dog,train,x",
            "labels.csv:10: b.jpg is 'test', but 'train' in line 9",
        ):
            assert expected in text
        assert len(text.splitlines()) == 11

    def test_missing_files_can_be_skipped_and_repeated_rows_are_used_once(
        self, make_files: Callable[..., Path]
    ) -> None:
        rows = "filename,label\n" + ROWS + "gone.jpg,cat\na.jpg,cat\n"
        splits = labels(make_files(*FLAT), rows, on_bad_image="skip")
        assert len(splits.train) == 4
        assert splits.notes[1:] == (
            "labels.csv: 1 row repeated; each image is used once",
            "labels.csv: 1 row without a file skipped: gone.jpg",
        )

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "contains no rows"),
            (b"filename,label\n", "contains no rows"),
            (b"filename,label\na.jpg,caf\xe9\n", "is not UTF-8 text: byte 0xe9 in line 2"),
            (b"a.jpg,cat\nb.jpg,dog\n", "has no header: its first line, 'a.jpg,cat', names an image"),
            (b"f,x,z\na.jpg,1,2\nb.jpg,1,2\n", "cannot guess which column contains the labels"),
            (b"q,label,z\nu,1,2\nv,1,2\n", "cannot guess which column contains the paths"),
            (b"f,label,label\na.jpg,1,2\n", "several columns named label"),
            (b"f,label\na.jpg,cat\nb.jpg,cat\n", "labels.csv contains only one class, cat"),
            (b"filename,label\nx.jpg,cat\ny.jpg,dog\n", "labels.csv:2: file x.jpg not found"),
        ],
    )
    def test_a_file_without_labels(
        self, make_files: Callable[..., Path], content: bytes, expected: str
    ) -> None:
        assert expected in problems_of(lambda: labels(make_files(*FLAT), content))

    def test_a_given_column_that_is_missing(self, make_files: Callable[..., Path]) -> None:
        asked = {"file": "labels.csv", "label": "lable"}
        text = problems_of(lambda: labels(make_files(*FLAT), "filename,label\n" + ROWS, labels=asked))
        assert "data.labels.label: " in text
        assert "has no column 'lable'; its first line is 'filename,label'\n    did you mean 'label'?" in text

    def test_a_label_that_is_not_one_of_the_classes(self, make_files: Callable[..., Path]) -> None:
        rows = "filename,label\na.jpg,cat\nb.jpg,dgo\nc.jpg,dog\n"
        text = problems_of(lambda: labels(make_files(*FLAT), rows, classes=["dog", "cat"]))
        assert "labels.csv:3: 'dgo' is not one of the classes\n    did you mean 'dog'?" in text

    def test_missing_files_and_folders(self, make_files: Callable[..., Path]) -> None:
        root = make_files(*FLAT)
        assert "labels.csv cannot be read: No such file" in problems_of(
            lambda: split(root, labels="labels.csv")
        )
        text = problems_of(lambda: labels(root, "filename,label\n" + ROWS, train="image", test="tset"))
        assert "did you mean 'images'?" in text
        assert "tset does not exist" in text


class TestLabelPattern:
    files = ("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg")

    def make(self, make_files: Callable[..., Path], *more: str) -> Path:
        return make_files(*(f"images/{name}" for name in (*self.files, *more)))

    def test_gives_the_same_index_as_folders(self, make_files: Callable[..., Path]) -> None:
        root = self.make(make_files, "deep/dog.2.jpg", "1.jpg", "notes.txt")
        splits = split(root, label_pattern=r"(cat|dog)\.\d+")
        assert splits.class_names == ("cat", "dog")
        assert splits.train.paths == ("cat.0.jpg", "cat.1.jpg", "deep/dog.2.jpg", "dog.0.jpg", "dog.1.jpg")
        assert splits.train.counts().tolist() == [2, 3]
        assert splits.warnings == (
            f"{root / 'images'}: 1 path ignored (1.jpg): does not match data.label_pattern",
        )

    def test_other_folders_keep_the_labels_of_training(self, make_files: Callable[..., Path]) -> None:
        root = self.make(make_files)
        make_files("test/dog.7.jpg", "other/eel.1.jpg")
        splits = split(root, label_pattern=r"([a-z]+)\.\d+", test="test")
        assert splits.test is not None
        assert splits.test.labels.tolist() == [1]
        text = problems_of(lambda: split(root, label_pattern=r"([a-z]+)\.\d+", test="other"))
        assert "finds labels in" in text
        assert "that are not classes: eel\n    The classes are cat, dog" in text

    def test_a_split_file_takes_its_classes_from_the_names(self, make_files: Callable[..., Path]) -> None:
        root = self.make(make_files)
        (root / "splits.csv").write_text("path,split\ncat.0.jpg,train\ndog.0.jpg,train\ndog.1.jpg,val\n")
        splits = split(root, label_pattern=r"([a-z]+)\.\d+", split_file="splits.csv")
        assert splits.train.labels.tolist() == [0, 1]
        assert splits.validation is not None
        assert splits.validation.paths == ("dog.1.jpg",)

    def test_nothing_matches(self, make_files: Callable[..., Path]) -> None:
        text = problems_of(lambda: split(self.make(make_files), label_pattern=r"(\d+)-"))
        assert "matches none of the 4 images in" in text
        assert "such as cat.0.jpg" in text

    def test_only_one_label(self, make_files: Callable[..., Path]) -> None:
        text = problems_of(lambda: split(self.make(make_files), label_pattern=r"(cat)\."))
        assert "contains only one class, cat" in text

    def test_the_search_is_bounded(
        self, make_files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("imgtrain.dataset.groups._SECONDS", 0.5)
        root = make_files(f"images/{'a' * 40}.jpg")
        text = problems_of(lambda: split(root, label_pattern=r"((?:a+)+)b"))
        assert "data.label_pattern: cannot use '((?:a+)+)b': searching 1 paths takes longer than" in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("labels: l.csv, label_pattern: '(a)'", "label_pattern and labels are mutually exclusive"),
        ("nested: true, labels: l.csv", "labels and nested are mutually exclusive"),
        ("label_pattern: 'a'", "must have exactly one group in parentheses"),
        ("labels: {path: x}", "data.labels.file: is required"),
        ("labels: {file: l.csv, lable: x}", "unknown key 'lable'\n    did you mean 'label'?"),
        (
            "labels: [a]",
            "data.labels: must be a path; a mapping with the keys file, path, label, split; or null",
        ),
    ],
)
def test_contradictions_in_the_configuration(tmp_path: Path, data: str, expected: str) -> None:
    (tmp_path / "c.yaml").write_text(f"data: {{train: x, {data}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "c.yaml")
    assert expected in str(caught.value)


def test_the_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {train: x, labels: l.csv}\n")
    overrides = ["data.labels.label=no", "data.labels.path=007"]
    for options in ([], overrides, [*overrides, "data.labels.file=l.csv"]):
        asked = load_config(tmp_path / "c.yaml", options).data.label_file
        assert asked is not None
        assert asked.file == tmp_path.resolve() / "l.csv"
        assert (asked.path, asked.label) == (("007", "no") if options else (None, None))
