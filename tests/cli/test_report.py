"""`imgtrain report`: the page of a finished run, written again from its directory."""

import shutil

import pytest


@pytest.mark.tensorflow
def test_the_report_is_written_again_also_when_images_have_gone(tmp_path, make_folders, imgtrain):
    make_folders(tmp_path, {"train": {"a": 12, "b": 12}, "test": {"a": 6, "b": 6}})
    # With twins, which images are trained on is known from their pixels only.
    for number in range(6):
        shutil.copy(tmp_path / f"train/a/00{number}.png", tmp_path / f"train/a/twin{number}.png")
    (tmp_path / "config.yaml").write_text(
        "data: {train: train, test: test, validation_split: 0.25, target_size: [16, 16]}\n"
        "augmentation: {horizontal_flip: true}\ntraining: {epochs: 1}\n"
        "model:\n  layers:\n    - Conv2D: {filters: 4, kernel_size: 3}\n    - Flatten\n"
    )
    done = imgtrain("train", "config.yaml", "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "run/report.html"
    first = page.read_text()
    assert "Grad-CAM for" in first
    page.unlink()
    done = imgtrain("report", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # What the training shows from memory is what is read back from the files.
    assert page.read_text() == first
    shutil.rmtree(tmp_path / "test")
    done = imgtrain("report", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no longer in" in done.stderr
    assert page.read_text().count("data:image/webp") < first.count("data:image/webp")


def test_a_folder_that_is_no_run_is_refused(tmp_path, imgtrain):
    done = imgtrain("report", tmp_path)
    assert done.returncode == 4
    assert "metrics.json" in done.stderr
    assert "Traceback" not in done.stderr
