"""What is quick to start, starts no TensorFlow."""

import zipfile

import pytest

from imgtrain.run.model_metadata import ModelMetadata

HEAVY = {"tensorflow", "keras", "sklearn", "cv2", "scipy", "matplotlib"}


def run_command(*arguments):
    """Return code that runs the command inside the process whose modules are looked at."""
    return (
        "import sys\n"
        f"sys.argv = ['imgtrain', *{[str(argument) for argument in arguments]!r}]\n"
        "from imgtrain.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
    )


@pytest.fixture
def config(tmp_path, make_folders):
    make_folders(tmp_path, {"train": {"a": 4, "b": 4}})
    path = tmp_path / "config.yaml"
    path.write_text("data:\n  train: train\n  validation_split: 0.5\n  target_size: [8, 8]\n")
    return path


def test_importing_the_package_imports_nothing_heavy(imported_modules):
    assert not imported_modules("import imgtrain") & (HEAVY | {"numpy", "pydantic", "PIL"})


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(imported_modules, arguments):
    assert not imported_modules(run_command(*arguments)) & (HEAVY | {"numpy", "PIL", "yaml"})


def test_schema_needs_no_tensorflow(imported_modules):
    assert not imported_modules(run_command("schema")) & HEAVY


def test_init_needs_no_tensorflow(imported_modules, config, tmp_path):
    code = run_command("init", tmp_path, "--output", tmp_path / "new.yaml")
    assert not imported_modules(code) & HEAVY
    assert (tmp_path / "new.yaml").exists()


def test_preview_needs_no_tensorflow(imported_modules, config, tmp_path):
    code = run_command("preview-aug", config, "--output", tmp_path / "sheet.png")
    assert not imported_modules(code) & {"tensorflow", "keras", "scipy", "sklearn"}
    assert (tmp_path / "sheet.png").exists()


def test_check_needs_no_tensorflow(imported_modules, config):
    code = run_command("check", config, "--json")
    assert not imported_modules(code) & {"tensorflow", "keras"}


def test_an_error_in_the_configuration_is_found_without_tensorflow(imported_modules, config):
    code = run_command("train", config, "--set", "training.epochs=none")
    assert not imported_modules(code) & {"tensorflow", "keras"}


def test_a_split_without_images_is_found_without_tensorflow(imported_modules, config, tmp_path):
    (tmp_path / "empty").mkdir()
    code = run_command("train", config, "--set", f"data.test={tmp_path / 'empty'}")
    assert not imported_modules(code) & {"tensorflow", "keras"}


@pytest.fixture
def model(tmp_path):
    """A file that says it is a model of imgtrain, tested on a folder that is not there."""
    metadata = ModelMetadata(
        class_names=("a", "b"), target_size=(8, 8), color_mode="rgb", class_mode="categorical", resize="stretch",
        interpolation="bilinear", test_folder=str(tmp_path / "gone"), data_fingerprint="sha256:0", versions={},
        created="2026-11-21T00:00:00+00:00",
    )  # fmt: skip
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("imgtrain.json", metadata.to_json())
    return tmp_path / "model.keras"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("train(plan)", "already contains a run"),
        ("train(plan, resume=True)", "a different configuration"),
        ("evaluate('missing.keras')", "no such model file"),
        ("evaluate('model.keras')", "does not exist"),
        ("evaluate('model.keras', data='train', classes=('a', 'b'))", "omit it"),
        ("evaluate('model.keras', data='train', output='run')", "contains a run"),
        ("predict('missing.keras', ['train'])", "no such model file"),
        ("predict('other.keras', ['train'])", "was not saved by imgtrain"),
        ("write_report('train')", "no metrics.json"),
    ],
)
def test_the_library_refuses_before_tensorflow_starts(imported_modules, config, model, tmp_path, call, told):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    (run / "config.yaml").write_text(config.read_text().replace("target_size: [8, 8]", "target_size: [9, 9]"))
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    code = (
        "import imgtrain\n"
        "plan = imgtrain.make_plan(imgtrain.load_config('config.yaml', ['output.directory=run']))\n"
        f"try:\n    imgtrain.{call}\n"
        f"except imgtrain.ImgtrainError as error:\n    assert {told!r} in str(error), error\n"
        "else:\n    raise AssertionError('not refused')\n"
    )
    assert not imported_modules(code, cwd=tmp_path) & {
        "tensorflow",
        "keras",
        "sklearn",
        "scipy",
        "matplotlib",
    }
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "run.json"]
