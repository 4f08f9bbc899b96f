"""What the command says about a wrong option or a missing file; none of it starts TensorFlow."""

import pytest


@pytest.fixture
def config(tmp_path, make_folders):
    make_folders(tmp_path / "configs", {"train": {"a": 2, "b": 2}}, side=8)
    path = tmp_path / "configs" / "cats.yaml"
    path.write_text("data:\n  train: train\n")
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--set", "epochs=3"), "write `--set training.epochs=3`"),
        (
            ("--set", "training.epochs", "3"),
            "Invalid value for '--set': 'training.epochs' is not of the form",
        ),
        (("--set", "training.epochs:3"), "write `--set training.epochs=3`"),
        (("--epochs", "0"), "--epochs 0: training.epochs: must be an integer ≥ 1; got 0"),
        (("--set", "data.color_mode=grey"), "did you mean 'grayscale'?"),
    ],
)
def test_a_wrong_option_is_named_with_its_right_form(config, imgtrain, options, told):
    done = imgtrain("train", config, *options)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_missing_folder_and_what_its_path_is_relative_to(config, imgtrain, tmp_path):
    (tmp_path / "photos").mkdir()
    config.write_text("data:\n  train: photos\n")
    done = imgtrain("train", "configs/cats.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "configs/cats.yaml:2: data.train: " in done.stderr
    assert (
        f"'photos' is relative to the folder of the configuration, {config.parent.resolve()}" in done.stderr
    )
    assert f"not to the current directory; did you mean {tmp_path.resolve() / 'photos'}?" in done.stderr


@pytest.mark.parametrize(
    "command", [("train", "cast.yaml"), ("evaluate", "cast.yaml"), ("check", "cast.yaml")]
)
def test_a_missing_file_and_where_it_was_looked_for(imgtrain, tmp_path, command):
    done = imgtrain(*command, cwd=tmp_path)
    assert done.returncode in (2, 4)
    assert f"'cast.yaml' is relative to the current directory, {tmp_path.resolve()}" in done.stderr
