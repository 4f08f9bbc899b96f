"""One tiny broken data set for each finding; nothing else may be found in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from imgtrain.audit.check import check
from imgtrain.audit.result import describe_report
from imgtrain.config import load_config
from imgtrain.dataset.split import split_data
from imgtrain.errors import ConfigError, DataError
from imgtrain.events import Event, Progress
from imgtrain.pixels.load_images import load_images

SIDE = 48
COUNTS = {"train": 24, "test": 8}


def draw(seed: int, side: int = SIDE) -> Image.Image:
    """A picture of soft blots, like no other; the same for the same seed."""
    rng = np.random.default_rng(seed)
    blots = Image.fromarray(rng.integers(20, 200, (6, 6, 3), np.uint8))
    return blots.resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    seed = 0
    for split, count in COUNTS.items():
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for _ in range(count):
                draw(seed).save(root / split / name / f"{chr(97 + seed % 26)}{chr(97 + seed // 26)}.png")
                seed += 1
    return root


@pytest.fixture
def folder(sound_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_folder, tmp_path / "data"))


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a configuration for the folder; it takes lines of YAML to add."""

    def write(*lines: str, data: str = "") -> Path:
        path = tmp_path / "config.yaml"
        head = f"data:\n  train: {folder}/train\n  test: {folder}/test\n  target_size: [48, 48]\n{data}"
        path.write_text("\n".join([head, *lines]) + "\n")
        return path

    return write


TRAIN = "train/cat/aa.png"


def codes(report) -> dict[str, str]:
    return {finding.code: finding.severity for finding in report.findings}


def paths(report, code: str) -> set[str]:
    return {
        path
        for finding in report.findings
        if finding.code == code
        for item in finding.items
        for path in item.paths
    }


def test_a_sound_folder_has_no_finding(folder: Path) -> None:
    report = check(folder)
    assert report.findings == ()
    assert report.images == {"train": 48, "test": 16}
    assert report.class_names == ("cat", "dog")
    assert not report.failed


def exif(root: Path, orientation: int) -> None:
    note = Image.Exif()
    note[0x0112] = orientation
    turned = ImageOps.exif_transpose(Image.open(root / TRAIN))
    back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    turned.transpose(back).save(root / "test/cat/turned.png", exif=note)


def copy_as_jpeg(root: Path) -> None:
    Image.open(root / TRAIN).save(root / "test/cat/copy.jpg", quality=60)


def copy_smaller(root: Path) -> None:
    Image.open(root / TRAIN).resize((24, 24), Image.Resampling.BICUBIC).save(root / "test/cat/copy.png")


def copy_brighter(root: Path) -> None:
    ImageEnhance.Brightness(Image.open(root / TRAIN)).enhance(1.1).save(root / "test/cat/copy.png")


def everywhere(root: Path, class_name: str, change: Callable[[Path], None]) -> None:
    for file in sorted(root.glob(f"*/{class_name}/*.png")):
        change(file)


def enlarge(file: Path) -> None:
    Image.open(file).resize((72, 72)).save(file)


def frame(file: Path) -> None:
    Image.open(file).crop((2, 2, 46, 46)).copy().save(file)
    ImageOps.expand(Image.open(file), 2, (128, 128, 128)).save(file)


def to_bmp(file: Path) -> None:
    Image.open(file).save(file.with_suffix(".bmp"))
    file.unlink()


def tint(file: Path) -> None:
    pixels = np.asarray(Image.open(file)) // np.array([1, 1, 2], np.uint8)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def rename_all(root: Path, name: Callable[[int], str]) -> None:
    for number, file in enumerate(sorted(root.glob("*/*/*.png"))):
        file.rename(file.with_name(name(number)))


PLANTED = {
    "leak": (
        lambda root: shutil.copy(root / TRAIN, root / "test/cat/copy.png"),
        "error",
        {TRAIN, "test/cat/copy.png"},
    ),
    "leak of another format": (
        lambda root: Image.open(root / TRAIN).save(root / "test/cat/copy.bmp"),
        "error",
        {TRAIN, "test/cat/copy.bmp"},
    ),
    "leak turned by EXIF": (lambda root: exif(root, 6), "error", {TRAIN, "test/cat/turned.png"}),
    "near-leak by JPEG": (copy_as_jpeg, "warning", {TRAIN, "test/cat/copy.jpg"}),
    "near-leak by size": (copy_smaller, "warning", {TRAIN, "test/cat/copy.png"}),
    "near-leak by brightness": (copy_brighter, "warning", {TRAIN, "test/cat/copy.png"}),
    "label-conflict": (
        lambda root: shutil.copy(root / TRAIN, root / "train/dog/copy.png"),
        "error",
        {TRAIN, "train/dog/copy.png"},
    ),
    "near-label-conflict": (
        lambda root: Image.open(root / TRAIN).save(root / "train/dog/copy.jpg", quality=60),
        "warning",
        {TRAIN, "train/dog/copy.jpg"},
    ),
    "duplicate": (
        lambda root: shutil.copy(root / TRAIN, root / "train/cat/copy.png"),
        "warning",
        {TRAIN, "train/cat/copy.png"},
    ),
    "near-duplicate": (
        lambda root: Image.open(root / TRAIN).save(root / "train/cat/copy.jpg", quality=60),
        "note",
        {TRAIN, "train/cat/copy.jpg"},
    ),
    "undecodable empty": (lambda root: (root / TRAIN).write_bytes(b""), "error", {TRAIN}),
    "undecodable truncated": (
        lambda root: (root / TRAIN).write_bytes((root / TRAIN).read_bytes()[:-400]),
        "error",
        {TRAIN},
    ),
    "undecodable text": (lambda root: (root / TRAIN).write_text("<html>"), "error", {TRAIN}),
    "decompression-bomb": (
        lambda root: Image.new("1", (20_000, 10_000)).save(root / TRAIN),
        "error",
        {TRAIN},
    ),
    "wrong-suffix": (lambda root: Image.open(root / TRAIN).save(root / TRAIN, "BMP"), "warning", {TRAIN}),
    "animated": (
        lambda root: draw(900).save(root / "train/cat/film.gif", save_all=True, append_images=[draw(901)]),
        "warning",
        {"train/cat/film.gif"},
    ),
    "stray": (lambda root: draw(900).save(root / "train/beside.png"), "warning", {"train/beside.png"}),
    "stray of no suffix": (
        lambda root: (root / "train/cat/notes.txt").write_text("mine"),
        "note",
        {"train/cat/notes.txt"},
    ),
    "hidden": (
        lambda root: draw(900).save(root / "train/cat/._aa.png"),
        "note",
        {"train/cat/._aa.png"},
    ),
    "name-clash": (
        lambda root: draw(900).save(root / "train/cat/AA.png"),
        "warning",
        {TRAIN, "train/cat/AA.png"},
    ),
    "unportable-name": (
        lambda root: (root / TRAIN).rename(root / "train/cat/what?.png"),
        "note",
        {"train/cat/what?.png"},
    ),
    "group-hint": (
        lambda root: rename_all(root, lambda number: f"patient{number % 8}_{number}.png"),
        "warning",
        None,
    ),
    "imbalance": (
        lambda root: [draw(1000 + k).save(root / f"train/dog/new{k:02}.png") for k in range(60)],
        "warning",
        set(),
    ),
    "missing-class": (lambda root: shutil.rmtree(root / "test/dog"), "warning", set()),
    "small-class": (
        lambda root: [file.unlink() for file in sorted((root / "train/cat").iterdir())[:6]],
        "warning",
        set(),
    ),
    "shortcut by size": (lambda root: everywhere(root, "dog", enlarge), "warning", set()),
    "shortcut by border": (lambda root: everywhere(root, "dog", frame), "warning", set()),
    "shortcut by format": (lambda root: everywhere(root, "dog", to_bmp), "warning", set()),
    "shortcut by color": (lambda root: everywhere(root, "dog", tint), None, set()),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_planted(folder: Path, planted: str) -> None:
    plant, severity, files = PLANTED[planted]
    plant(folder)
    code = planted.split(" ", maxsplit=1)[0]
    report = check(folder)
    found = codes(report)
    if severity is None:  # a tint shows in the border, too
        assert set(found) == {code}
        return
    if "EXIF" in planted:
        assert found.pop("exif-orientation") == "note"
    assert found == {code: severity}
    assert report.failed == (severity == "error")
    if files is not None:
        assert paths(report, code) == files


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("size", "image size alone predicts"),
        ("border", "border alone predicts"),
        ("format", "file format alone predicts"),
        ("color", "; mean blue is"),
    ],
)
def test_a_shortcut_is_named(folder: Path, kind: str, words: str) -> None:
    PLANTED[f"shortcut by {kind}"][0](folder)
    assert any(words in finding.what for finding in check(folder).findings)


def test_colour_modes_that_differ_between_classes(folder: Path) -> None:
    everywhere(folder, "dog", lambda file: Image.open(file).convert("L").save(file))
    assert {"mixed-colour-modes", "shortcut"} == set(codes(check(folder)))


def test_nothing_that_can_be_decoded(folder: Path) -> None:
    everywhere(folder, "*", lambda file: file.write_bytes(b""))
    report = check(folder)
    assert codes(report) == {"undecodable": "error"}
    assert len(paths(report, "undecodable")) == 64


def test_one_folder_of_classes(folder: Path) -> None:
    assert check(folder / "train").images == {"train": 48}


def test_what_is_no_data_set_is_a_finding(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert codes(report) == {"layout": "error"}
    assert report.failed
    assert describe_report(report)["root"] is None


class TestWithConfiguration:
    def test_a_sound_one(self, config: Callable[..., Path]) -> None:
        report = check(config("training: {early_stopping: null}"))
        assert report.findings == ()
        assert report.cost is not None
        assert report.cost.images == 48
        assert report.cost.decode_images_per_second > 0
        assert report.cost.epoch_seconds is None

    def test_sizes_are_held_against_the_target(self, folder: Path, config: Callable[..., Path]) -> None:
        draw(900).resize((24, 24)).save(folder / TRAIN)
        draw(901).resize((150, 60)).save(folder / "train/dog/wide.png")
        report = check(config("training: {early_stopping: null}"))
        assert {"small", "odd-shape"} <= set(codes(report))
        assert paths(report, "small") == {TRAIN}
        assert paths(report, "odd-shape") == {"train/dog/wide.png"}

    def test_bad_files_and_leaks_are_as_severe_as_asked(
        self, folder: Path, config: Callable[..., Path]
    ) -> None:
        PLANTED["leak"][0](folder)
        (folder / "train/dog/yb.png").write_bytes(b"")
        asked = "  on_leak: warn\n  on_bad_image: skip\n"
        report = check(config("training: {early_stopping: null}", data=asked))
        assert codes(report) == {"leak": "warning", "undecodable": "warning"}

    def test_groups_in_two_splits(self, folder: Path, config: Callable[..., Path]) -> None:
        rename_all(folder, lambda number: f"p{number % 8}_{number}.png")
        asked = "  group_by: '(p\\d+)_'\n"
        report = check(config("training: {early_stopping: null}", data=asked))
        assert codes(report) == {"shared-group": "warning"}

    def test_a_network_that_fits_nowhere(self, config: Callable[..., Path]) -> None:
        huge = "model: {layers: [Flatten, {Dense: 9999999}, {Dense: 999999}]}"
        assert codes(check(config("training: {early_stopping: null}", huge))) == {"out-of-memory": "error"}

    def test_a_contradiction_does_not_hide_what_is_wrong_with_the_data(
        self, folder: Path, config: Callable[..., Path]
    ) -> None:
        PLANTED["leak"][0](folder)
        report = check(config("training: {early_stopping: {monitor: nothing}}"))
        assert codes(report) == {"configuration": "error", "leak": "error"}

    def test_a_second_check_and_training_decode_nothing_again(self, config: Callable[..., Path]) -> None:
        path = config("training: {early_stopping: null}")
        events: list[Event] = []
        check(path, emit=events.append)
        assert any(isinstance(event, Progress) for event in events)
        events.clear()
        check(path, emit=events.append)
        loaded = load_config(path)
        load_images(loaded, split_data(loaded), events.append)
        assert not any(isinstance(event, Progress) for event in events)


class TestFixSplit:
    def test_the_gate_of_training_accepts_the_proposal(
        self, folder: Path, config: Callable[..., Path], tmp_path: Path
    ) -> None:
        PLANTED["leak"][0](folder)
        copy_as_jpeg(folder)
        PLANTED["label-conflict"][0](folder)
        draw(77).save(folder / "train/dog/solitary.png")
        draw(77).save(folder / 'test/dog/quote"s, and\nlines.png')
        (folder / "train/dog/yb.png").write_bytes(b"")
        path, out = config("training: {early_stopping: null}"), tmp_path / "splits.csv"
        before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
        assert check(path, fix_split=out).failed
        loaded = load_config(path)
        with pytest.raises(DataError, match="imgtrain check"):
            load_images(loaded, split_data(loaded))

        overrides = [f"data.split_file={out}"]
        report = check(path, overrides)
        assert not set(codes(report)) & {"leak", "near-leak", "label-conflict", "undecodable", "duplicate"}
        loaded = load_config(path, overrides)
        images = load_images(loaded, split_data(loaded))
        used = {
            os.path.relpath(part.split.folder.file(index), folder)
            for part in images
            for index in part.split.indices
        }
        assert 'test/dog/quote"s, and\nlines.png' in used, "the scored split keeps its images"
        assert "train/dog/solitary.png" not in used
        assert TRAIN not in used, "nobody knows whether it is a cat or a dog"
        assert len(images.test.split) == 16 + 1
        assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before

    def test_splits_are_drawn_where_there_are_none(self, folder: Path, tmp_path: Path) -> None:
        for number in range(3):
            shutil.copy(folder / TRAIN, folder / f"train/cat/copy{number}x.png")
        out = tmp_path / "splits.csv"
        check(folder / "train", fix_split=out)
        path = tmp_path / "config.yaml"
        path.write_text(f"data: {{train: {folder}/train, split_file: {out}, target_size: [16, 16]}}\n")
        splits = split_data(load_config(path))
        assert [len(split) for split in splits] == [30, 8, 10]
        assert all(split.counts().min() > 0 for split in splits)

    def test_groups_stay_together(self, folder: Path, config: Callable[..., Path], tmp_path: Path) -> None:
        rename_all(folder, lambda number: f"p{number % 8}_{number}.png")
        path = config("training: {early_stopping: null}", data="  group_by: '(p\\d+)_'\n")
        out = tmp_path / "splits.csv"
        shutil.rmtree(folder / "test")
        (folder / "test").mkdir()
        for name in ("cat", "dog"):
            (folder / "test" / name).mkdir()
            for file in sorted((folder / "train" / name).glob("p1_*")):
                shutil.move(file, folder / "test" / name)
            file = sorted((folder / "train" / name).glob("p2_*"))[0]
            shutil.move(file, folder / "test" / name)
        assert "shared-group" in codes(check(path, fix_split=out))
        assert "shared-group" not in codes(check(path, [f"data.split_file={out}"]))


class TestSheet:
    def test_shows_copies_and_bad_files(self, folder: Path, tmp_path: Path) -> None:
        PLANTED["leak"][0](folder)
        (folder / "train/dog/yb.png").write_bytes(b"")
        out = tmp_path / "sheet.png"
        check(folder, sheet=out)
        sheet = np.asarray(Image.open(out))
        left, right = sheet[34:226, 10:202], sheet[34:226, 212:404]
        assert np.array_equal(left, right), "the copies stand side by side"
        assert left.std() > 10
        assert (sheet == (0xB0, 0x00, 0x20)).all(-1).sum() > 500, (
            "the bad file is a red frame with the reason"
        )

    def test_nothing_to_show_writes_nothing(self, folder: Path, tmp_path: Path) -> None:
        check(folder, sheet=tmp_path / "sheet.png")
        assert not (tmp_path / "sheet.png").exists()

    @pytest.mark.parametrize(
        "options", [{"sheet": "a.txt"}, {"sheet": "no/a.png"}, {"fix_split": "no/a.csv"}]
    )
    def test_wrong_options_are_said_before_any_work(
        self, folder: Path, tmp_path: Path, options: dict
    ) -> None:
        events: list[Event] = []
        with pytest.raises(ConfigError, match=r"--sheet|--fix-split"):
            check(folder, **{key: tmp_path / name for key, name in options.items()}, emit=events.append)
        assert not events


class TestCommand:
    def test_json_alone_on_stdout_and_status_3(self, folder: Path, imgtrain: Callable) -> None:
        PLANTED["leak"][0](folder)
        name = os.fsdecode(b"\xff\x1b[31m.png")
        draw(900).save(folder / "train/cat" / name)
        done = imgtrain("check", folder, "--json")
        assert done.returncode == 3
        content = json.loads(done.stdout)
        assert content["schema_version"] == 1
        assert set(content) == {
            "schema_version", "source", "root", "images", "class_names", "counts", "findings", "cost"
        }  # fmt: skip
        assert set(content["findings"][0]) == {"code", "severity", "what", "harm", "remedy", "files"}
        assert content["counts"] == {"error": 1, "warning": 0, "note": 1}
        assert content["findings"][0]["files"] == [{"paths": [TRAIN, "test/cat/copy.png"], "detail": "cat"}]
        assert content["findings"][1]["files"][0]["paths"] == [f"train/cat/{name}"]

    def test_people_see_names_escaped_and_what_to_do(self, folder: Path, imgtrain: Callable) -> None:
        (folder / "train/cat/\x1b[31mred.png").write_bytes(b"")
        done = imgtrain("check", folder, env={"FORCE_COLOR": ""})
        assert done.returncode == 3
        assert "\x1b[31mred" not in done.stdout + done.stderr
        assert "\\x1b[31mred.png" in done.stdout
        assert "fix: repair or remove them" in done.stdout

    def test_a_sound_folder_is_status_0(self, folder: Path, imgtrain: Callable) -> None:
        done = imgtrain("check", folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert "no problems found" in done.stdout

    def test_a_configuration_that_cannot_be_read_is_status_2(
        self, tmp_path: Path, imgtrain: Callable
    ) -> None:
        assert imgtrain("check", tmp_path / "none.yaml").returncode == 2

    def test_status_2_if_only_the_configuration_is_wrong(
        self, folder: Path, config: Callable[..., Path], imgtrain: Callable
    ) -> None:
        path = config("training: {early_stopping: {monitor: nothing}}")
        assert imgtrain("check", path).returncode == 2
        PLANTED["leak"][0](folder)
        assert imgtrain("check", path).returncode == 3
