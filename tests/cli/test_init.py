"""`imgtrain init`: what it says about the folder."""

from PIL import Image


def test_a_rare_class_is_a_warning(tmp_path, imgtrain):
    for name, images in (("common", 30), ("rare", 3)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(images):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    done = imgtrain("init", "photos", cwd=tmp_path)
    assert done.returncode == 0
    assert "common has 30 training images, rare only 3" in done.stderr
    assert "training.class_weight: balanced" in done.stderr
    assert (tmp_path / "config.yaml").exists()
