"""What a command suggests if its argument is something else than expected."""

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path, make_folders):
    make_folders(tmp_path, {"set": {"a": 2, "b": 2}, "one": {"cat": 2}}, side=8)
    (tmp_path / "config.yaml").write_text("data: {train: set}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        ("own.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "is a model", "imgtrain evaluate own.h5 --data FOLDER"),
        ("own.keras", b"PK\x03\x04" + bytes(64), "is a model", "imgtrain evaluate own.keras --data FOLDER"),
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a binary file", "imgtrain init FOLDER"),
    ],
)
@pytest.mark.parametrize("command", ["train", "check"])
def test_a_file_that_is_no_configuration_is_named(folder, imgtrain, command, name, content, what, hint):
    (folder / name).write_bytes(content)
    done = imgtrain(command, name, cwd=folder)
    assert done.returncode == 2
    assert f"{name}:1: {what}" in done.stderr
    assert hint in done.stderr
    assert "UTF-8" not in done.stderr


def test_an_unknown_key_is_not_taken_for_a_distant_one_of_another_section(folder, imgtrain):
    done = imgtrain("train", "config.yaml", "--set", "model.weights=imagenet", cwd=folder)
    assert "unknown key 'weights'" in done.stderr
    assert "class_weight" not in done.stderr


@pytest.mark.parametrize("arguments", [("init", "one"), ("train", "config.yaml", "--set", "data.train=one")])
def test_one_class_gets_a_way_to_have_two(folder, imgtrain, arguments):
    done = imgtrain(*arguments, "--overwrite", cwd=folder)
    assert done.returncode == 3
    assert "contains only one class, cat" in done.stderr
    assert f"such as {folder / 'one/not_cat'}" in done.stderr


@pytest.mark.parametrize("class_names", [["a"], ["a", "b"]], ids=["one class", "all classes"])
def test_links_that_are_not_followed_are_named(folder, imgtrain, class_names):
    (folder / "more").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "more/1.png")
    for name in class_names:
        for path in (folder / "set" / name).iterdir():
            path.unlink()
        (folder / "set" / name / "linked").symlink_to(folder / "more")
    done = imgtrain("train", "config.yaml", "--dry-run", cwd=folder)
    assert done.returncode == 3
    assert "links to folders" in done.stderr
    assert "a/linked" in done.stderr
    assert "set `data.follow_links: true` and `data.nested: true`" in done.stderr
    assert "did you mean" not in done.stderr
