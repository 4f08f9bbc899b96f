"""`imgtrain preview-aug`: what is written, and where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imgtrain.augment.preview import preview_images
from imgtrain.batches.versions import make_versions
from imgtrain.config.load import parse_config
from imgtrain.dataset.index import index_folder
from imgtrain.dataset.split import Split
from imgtrain.errors import ConfigError, DataError, RunFileError
from imgtrain.workflows.preview import write_preview


@pytest.fixture
def root(tmp_path, make_folders):
    return make_folders(tmp_path, {"train": {"cats": 9, "dogs": 5, "emus": 2}}) / "train"


@pytest.fixture
def split(root):
    folder = index_folder(root)
    return Split("train", folder, np.arange(len(folder)))


@pytest.fixture
def config(root):
    return parse_config(
        {
            "data": {"train": str(root), "target_size": [24, 30]},
            "augmentation": {"rotation_range": 30},
            "training": {"seed": 3},
        }
    )


def test_one_sheet(config, tmp_path):
    written = write_preview(config, output=tmp_path / "new" / "sheet.png", count=3, images=4, each=False)
    assert written == tmp_path / "new" / "sheet.png"
    with Image.open(written) as sheet:
        assert sheet.size == (8 + 4 * (120 + 8), 8 + 24 + 4 * (24 + 96 + 8))


def test_each(config, tmp_path, split):
    written = write_preview(config, output=tmp_path / "each", count=3, images=4, each=True)
    versions = make_versions(config, split, images=4, epochs=3)
    expected = dict(preview_images(versions))
    assert {file.name for file in written.iterdir()} == set(expected)
    for file in written.iterdir():
        with Image.open(file) as picture:
            assert (np.asarray(picture) == expected[file.name]).all()


def test_without_output_it_writes_to_the_present_directory(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(write_preview(config, output=None, count=1, images=1, each=False)) == "preview-aug.png"
    assert str(write_preview(config, output=None, count=1, images=1, each=True)) == "preview-aug"
    assert (tmp_path / "preview-aug.png").is_file()
    assert len(list((tmp_path / "preview-aug").iterdir())) == 2


@pytest.mark.parametrize("name", ["sheet", "sheet.txt"])
def test_a_name_that_is_no_picture_is_refused(config, tmp_path, name):
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        write_preview(config, output=tmp_path / name, count=1, images=1, each=False)


@pytest.mark.parametrize("each", [False, True])
def test_a_place_that_cannot_be_written_is_an_error(config, tmp_path, each):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFileError, match="cannot be written"):
        write_preview(config, output=tmp_path / "file" / "sheet.png", count=1, images=1, each=each)


def test_every_image_of_one_class(config, tmp_path):
    said = []
    mixing = config.model_copy(update={"augmentation": config.augmentation.model_copy(update={"mixup": 0.4})})
    asked = {"count": 2, "each": True, "class_name": "emus", "originals": False}
    written = write_preview(mixing, output=tmp_path / "each", emit=said.append, **asked)
    names = sorted(file.name for file in written.iterdir())
    assert len(names) == 2 * 2
    assert all("-emus-" in name and "-epoch-" in name for name in names)
    assert "mixup and cutmix are left out" in said[0].text
    # The same pixels as without mixing.
    plain = write_preview(config, output=tmp_path / "plain", **asked)
    assert {file.read_bytes() for file in written.iterdir()} == {
        file.read_bytes() for file in plain.iterdir()
    }
    with pytest.raises(ConfigError, match="'emu' is not one of the classes\n    did you mean 'emus'"):
        write_preview(config, output=tmp_path / "x", count=1, each=True, class_name="emu")


def test_a_folder_of_one_class(config, root, tmp_path):
    written = write_preview(config, output=tmp_path / "each", count=1, each=True, folder=root / "dogs")
    assert len(list(written.iterdir())) == 2 * 5
    assert all("-dogs-" in file.name for file in written.iterdir())
    written = write_preview(
        config, output=tmp_path / "cats", count=1, each=True, folder=root, class_name="cats", originals=False
    )
    assert len(list(written.iterdir())) == 9
    with pytest.raises(DataError, match="does not exist"):
        write_preview(config, output=None, count=1, each=True, folder=root / "gone")


def test_images_that_do_not_fit_into_memory_are_decoded_again(config, tmp_path, monkeypatch):
    whole = write_preview(config, output=tmp_path / "whole", count=1, images=12, each=True)
    monkeypatch.setattr("imgtrain.batches.versions._MOST_KEPT", 3)
    again = write_preview(config, output=tmp_path / "again", count=1, images=12, each=True)
    for file in whole.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()
