"""Which files are meant by what a person names."""

import pytest

from imgtrain.dataset.named_files import expand_paths, split_list


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "a/deep/2.PNG", "a/notes.txt", "a/.hidden.jpg", "b/3.jpg", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b/3.jpg", "a/1.jpg"], ["b/3.jpg", "a/1.jpg"]),
        (["a"], ["a/1.jpg", "a/deep/2.PNG"]),
        (["a/"], ["a/1.jpg", "a/deep/2.PNG"]),
        (["*/*.jpg"], ["a/1.jpg", "b/3.jpg"]),
        (["**/*.PNG"], ["a/deep/2.PNG"]),
        (["[ab]"], ["a/1.jpg", "a/deep/2.PNG", "b/3.jpg"]),
        (["odd[1].jpg"], ["odd[1].jpg"]),
        (["a/notes.txt"], ["a/notes.txt"]),
        (["missing.jpg", "*.gif"], ["missing.jpg", "*.gif"]),
    ],
)
def test_names_stand_for_files(folder, names, expected):
    assert list(expand_paths(names)) == expected


def test_a_list_has_a_path_per_line_or_ended_by_zero_bytes():
    assert split_list(b"a b.jpg\r\nc.jpg\n\n") == ["a b.jpg", "c.jpg"]
    assert split_list(b"two\nlines.jpg\0c.jpg\0") == ["two\nlines.jpg", "c.jpg"]
    assert split_list(b"\xff.jpg\n") == ["\udcff.jpg"]
