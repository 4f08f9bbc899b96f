"""Names of files and classes that would move the cursor, color the terminal or turn text around, in every command."""

import json
import shutil

import pytest

EVIL = "ev\x1b[31mil\n\u202e"
SHOWN = r"ev\x1b[31mil\n\u202e"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folders):
    """A folder of classes, files and configuration, all of them with hostile names."""
    root = tmp_path_factory.mktemp("hostile") / EVIL
    make_folders(root, {"train": {"dark": 12, EVIL: 12}, "test": {"dark": 6, EVIL: 6}}, side=8)
    (root / f"{EVIL}.yaml").write_text(
        "data: {train: train, validation_split: 0.25, test: test, target_size: [8, 8]}\n"
        "model: {layers: [Flatten]}\n"
        "training: {epochs: 1}\n"
    )
    return root


@pytest.fixture(scope="module")
def trained(folder, imgtrain):
    """What `imgtrain train` prints, with a run directory beside it."""
    done = imgtrain("train", f"{EVIL}.yaml", "--output", f"run {EVIL}", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def assert_escaped(*texts: str) -> None:
    for text in texts:
        assert SHOWN in text
        assert not {"\x1b", "\u202e"} & set(text)
        assert "ev\\x1b[31mil\n" not in text


def test_a_problem(folder, imgtrain):
    done = imgtrain("train", f"{EVIL}.yaml", "--set", f"training.{EVIL}=1", cwd=folder)
    assert done.returncode == 2
    assert_escaped(done.stderr)


def test_the_system_reports_a_file(folder, imgtrain, tmp_path):
    done = imgtrain("init", folder, "--output", tmp_path / EVIL / "new.yaml")
    assert done.returncode == 2
    assert_escaped(done.stderr)


def test_a_proposed_configuration(folder, imgtrain, tmp_path):
    done = imgtrain("init", folder, "--output", tmp_path / f"{EVIL}.yaml")
    assert done.returncode == 0, done.stderr
    comments = [line for line in (tmp_path / f"{EVIL}.yaml").read_text().splitlines() if line.startswith("#")]
    assert_escaped(done.stdout, *[line for line in comments if "init" in line or "dark" in line])


def test_a_picture_of_the_augmentation(folder, imgtrain, tmp_path):
    done = imgtrain("preview-aug", folder / f"{EVIL}.yaml", "--output", tmp_path / f"{EVIL}.png")
    assert done.returncode == 0, done.stderr
    assert_escaped(done.stdout)


def test_an_audit(folder, imgtrain, tmp_path):
    shutil.copytree(folder / "train", tmp_path / "train")
    (tmp_path / "train" / EVIL / f"{EVIL}.png").write_bytes(b"")
    done = imgtrain("check", tmp_path, "--verbose")
    assert done.returncode == 3
    assert_escaped(done.stdout)


@pytest.mark.tensorflow
def test_the_tables_of_training_and_the_log(folder, trained):
    assert_escaped(trained.stdout, (folder / f"run {EVIL}" / "log.txt").read_text())


@pytest.mark.tensorflow
def test_the_report(folder, trained):
    page = (folder / f"run {EVIL}" / "report.html").read_text()
    # The configuration is there to be copied, so it is the file's text, in which YAML escapes what it must.
    before, _, rest = page.partition("<summary>Configuration</summary>")
    after = rest.partition("</details>")[2]
    assert_escaped(before)
    assert not {"\x1b", "\u202e"} & set(after)
    # Nor in what the script reads.
    assert "\\u001b" not in after
    assert json.dumps(SHOWN) in after


@pytest.mark.tensorflow
def test_a_comparison(folder, trained, imgtrain):
    done = imgtrain("compare", f"run {EVIL}", f"run {EVIL}", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert_escaped(done.stdout)


@pytest.mark.tensorflow
def test_predictions(folder, trained, imgtrain, tmp_path):
    shutil.copytree(folder / "test" / EVIL, tmp_path / EVIL)
    (tmp_path / EVIL / f"{EVIL}.png").write_bytes(b"")
    done = imgtrain("predict", f"run {EVIL}", tmp_path, cwd=folder)
    assert done.returncode == 3
    assert_escaped(done.stdout, done.stderr)
