from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from imgtrain.errors import RunFileError
from imgtrain.run.model_metadata import ATTRIBUTE, MEMBER, ModelMetadata, find_model_file, read_metadata

RECORD = ModelMetadata(
    class_names=("cat", "dog\n", "caf\u00e9"),
    target_size=(32, 48),
    color_mode="rgb",
    class_mode="sparse",
    resize="crop",
    interpolation="bilinear",
    abstain_below=0.7,
    test_folder="/data/test",
    nested=True,
    data_fingerprint="0123",
    versions={"keras": "3.15.1"},
    created="2026-01-01T00:00:00+00:00",
)


def write_keras(path: Path, text: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(MEMBER, text)
    return path


def write_h5(path: Path, value: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs[ATTRIBUTE] = value
    return path


def test_a_record_survives_both_formats(tmp_path: Path) -> None:
    assert read_metadata(write_keras(tmp_path / "m.keras", RECORD.to_json())) == RECORD
    assert read_metadata(write_h5(tmp_path / "m.h5", RECORD.to_json())) == RECORD
    assert RECORD.image_shape == (32, 48, 3)
    assert RECORD.units == 3
    leaves = RECORD.model_copy(update={"nested": "leaf"})
    assert read_metadata(write_keras(tmp_path / "n.keras", leaves.to_json())) == leaves


def test_a_record_of_many_classes_fits_an_h5_attribute(tmp_path: Path) -> None:
    names = tuple(f"class with a long name {number:05}" for number in range(5000))
    record = RECORD.model_copy(update={"class_names": names})
    assert read_metadata(write_h5(tmp_path / "m.h5", record.to_json())) == record


def test_a_model_of_others_has_no_record(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = "{}"
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert read_metadata(tmp_path / "m.h5") is None
    assert read_metadata(tmp_path / "m.keras") is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"class_names": "cat"}, "class_names"),
        ({"class_names": ["cat"]}, "class_names"),
        ({"class_names": ["cat", "cat"]}, "class_names"),
        ({"class_names": ["cat", 3]}, "class_names.1"),
        ({"target_size": [32]}, "target_size"),
        ({"target_size": [32, 0]}, "target_size.1"),
        ({"target_size": [32, 10**9]}, "target_size.1"),
        ({"target_size": ["32", "48"]}, "target_size.0"),
        ({"color_mode": "cmyk"}, "color_mode"),
        ({"class_mode": "binary"}, "class_mode"),
        ({"threshold": 0.5}, "threshold"),
        ({"abstain_below": 2}, "abstain_below"),
        ({"abstain_below": "nan"}, "abstain_below"),
        ({"nested": "yes"}, "nested"),
        ({"group_by": "(" * 1001}, "group_by"),
        ({"versions": [1]}, "versions"),
        ({"format_version": 0}, "format_version"),
    ],
)
@pytest.mark.parametrize("write", [write_keras, write_h5])
def test_a_corrupt_record_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, Any], named: str, write: Any
) -> None:
    path = tmp_path / ("m.h5" if write is write_h5 else "m.keras")
    write(path, json.dumps({**json.loads(RECORD.to_json()), **change}))
    with pytest.raises(RunFileError) as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", "3"])
def test_a_record_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunFileError, match="record"):
        read_metadata(write_keras(tmp_path / "m.keras", text))


@pytest.mark.parametrize("value", [3, [1.0, 2.0], b"\xff\xfe"])
def test_an_attribute_that_is_no_record_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(RunFileError):
        read_metadata(write_h5(tmp_path / "m.h5", value))


def test_a_later_version_is_named(tmp_path: Path) -> None:
    later = {**json.loads(RECORD.to_json()), "format_version": 99}
    with pytest.raises(RunFileError, match="update imgtrain"):
        read_metadata(write_keras(tmp_path / "m.keras", json.dumps(later)))


def test_a_further_key_is_ignored(tmp_path: Path) -> None:
    further = {**json.loads(RECORD.to_json()), "colour_of_the_logo": "red"}
    assert read_metadata(write_keras(tmp_path / "m.keras", json.dumps(further))) == RECORD


def test_control_characters_of_a_record_are_not_shown_raw(tmp_path: Path) -> None:
    with pytest.raises(RunFileError) as caught:
        read_metadata(write_keras(tmp_path / "m\x1b[31m.keras", "{"))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"hello", "is not a Keras model file"),
        (b"PK\x03\x04" + bytes(40), "corrupt .keras"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "contains HDF5 but has the suffix"),
    ],
)
def test_a_file_that_is_no_model_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=said):
        read_metadata(path)


def zip_after_hdf5(path: Path) -> None:
    write_h5(path, RECORD.to_json())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")


def hdf5_behind_a_zip_member(path: Path) -> None:
    """Write an archive with a member whose content, an HDF5 file, begins where the HDF5 library looks for it."""
    write_h5(path, RECORD.to_json())
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("notes")
        member.extra = b"\xff\xff" + (477 - 4).to_bytes(2, "little") + bytes(477 - 4)
        archive.writestr(member, content)
        archive.writestr("config.json", "{}")
    assert h5py.is_hdf5(path)


def hdf5_behind_a_user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=1024) as file:
        file.attrs[ATTRIBUTE] = RECORD.to_json()
    with path.open("r+b") as file:
        file.write(b"PK\x03\x04")
    assert h5py.is_hdf5(path)


@pytest.mark.parametrize("write", [zip_after_hdf5, hdf5_behind_a_zip_member, hdf5_behind_a_user_block])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_two_files_in_one_are_refused(tmp_path: Path, write: Any, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    write(path)
    for read in (find_model_file, read_metadata):
        with pytest.raises(RunFileError, match=r"is both|but has the suffix"):
            read(path)


@pytest.mark.parametrize(
    ("write", "name", "said"),
    [
        (write_keras, "m.h5", r"contains \.keras \(a zip archive\) but has the suffix \.h5"),
        (write_keras, "m.KERAS", r"rename it to end in \.keras"),
        (write_h5, "m.keras", r"contains HDF5 but has the suffix \.keras"),
        (write_h5, "m", r"HDF5 but has no suffix"),
    ],
)
def test_the_suffix_must_be_that_of_the_content(tmp_path: Path, write: Any, name: str, said: str) -> None:
    with pytest.raises(RunFileError, match=said):
        find_model_file(write(tmp_path / name, RECORD.to_json()))


def test_stored_weights_that_begin_where_hdf5_looks_are_not_a_second_file(tmp_path: Path) -> None:
    weights = write_h5(tmp_path / "m.h5", RECORD.to_json()).read_bytes()
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("model.weights.h5")
        member.extra = b"\xff\xff" + (466 - 4).to_bytes(2, "little") + bytes(466 - 4)
        archive.writestr(member, weights)
        archive.writestr(MEMBER, RECORD.to_json())
    assert h5py.is_hdf5(path)
    assert read_metadata(path) == RECORD


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="no such model"):
        find_model_file(tmp_path / "missing.keras")


def test_a_run_directory_means_its_model(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"without a \.keras or \.h5"):
        find_model_file(tmp_path)
    model = write_keras(tmp_path / "skin.keras", "")
    (tmp_path / ".skin.keras").write_bytes(b"")
    assert find_model_file(tmp_path) == model
    write_h5(tmp_path / "model.h5", "")
    with pytest.raises(RunFileError, match=r"several models: model\.h5, skin\.keras"):
        find_model_file(tmp_path)
