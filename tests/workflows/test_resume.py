"""A run that was stopped or killed at any batch ends like the one that never was: in one process, for speed."""

import csv
import errno
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from run_results import results

from imgtrain.errors import ConfigError, DataError, InterruptedRunError, RunFileError
from imgtrain.events import BatchTrained, EpochEnded, Message, Progress
from imgtrain.run import run_directory
from imgtrain.run.run_directory import RunDirectory

pytestmark = pytest.mark.tensorflow

# Dropout, BatchNormalization, augmentation, a plateau and a stop within five epochs, a last batch that is short.
ASKED = {
    "data": {
        "train": "train",
        "validation": "validation",
        "test": "test",
        "target_size": [12, 12],
        "batch_size": 7,
    },
    "augmentation": {"rotation_range": 30, "brightness_range": [0.7, 1.3], "horizontal_flip": True},
    "model": {
        "layers": [
            {"Conv2D": {"filters": 4, "kernel_size": 3, "activation": "relu"}},
            "BatchNormalization",
            "Flatten",
            {"Dropout": 0.3},
            {"Dense": {"units": 8, "activation": "relu"}},
        ]
    },
    "training": {
        "epochs": 6,
        "optimizer": {"name": "adam", "learning_rate": 0.02},
        "metrics": ["accuracy", "AUC"],
        "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 0.02},
        "reduce_lr_on_plateau": {"monitor": "val_loss", "patience": 1, "factor": 0.5, "min_delta": 0.02},
        "checkpoint_minutes": 1e-6,
    },
}


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, make_folders):
    counts = {"train": 12, "validation": 5, "test": 5}
    return make_folders(
        tmp_path_factory.mktemp("images"), {split: {"a": n, "b": n} for split, n in counts.items()}
    )


@pytest.fixture
def train(folders):
    """Return a function that trains into a directory, the configuration changed by dotted keys."""
    from imgtrain import make_plan
    from imgtrain.config import load_config
    from imgtrain.workflows.train import train

    (folders / "c.yaml").write_text(json.dumps(ASKED))

    def run(directory, *changes, emit=lambda event: None, **options):
        config = load_config(folders / "c.yaml", [*changes, f"output.directory={directory}"])
        return train(make_plan(config), emit=emit, **options)

    return run


@pytest.fixture(scope="module")
def unbroken(folders, tmp_path_factory):
    from imgtrain import make_plan
    from imgtrain.config import load_config
    from imgtrain.workflows.train import train

    (folders / "c.yaml").write_text(json.dumps(ASKED))
    directory = tmp_path_factory.mktemp("unbroken") / "run"
    train(make_plan(load_config(folders / "c.yaml", [f"output.directory={directory}"])))
    return directory


def at_batch(wanted, act):
    """Return an `emit` that calls `act` when that many batches were trained."""
    done = 0

    def emit(event):
        nonlocal done
        if isinstance(event, BatchTrained):
            done += 1
            if done == wanted:
                act()

    return emit


def kill():
    raise Killed


def test_the_run_has_all_that_makes_resuming_hard(unbroken):
    history = results(unbroken)["history"]
    assert len({row["learning_rate"] for row in history}) > 1
    assert len(history) > 2


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_run_killed_at_many_batches_ends_like_the_unbroken_one(train, unbroken, tmp_path, suffix):
    wanted = results(unbroken)
    change = f"output.model=model.{suffix}"
    batches = [2, 3, 1, 6] if suffix == "keras" else [5]
    for number, batch in enumerate(batches):
        with pytest.raises(Killed):
            train(tmp_path / "run", change, resume=number > 0, emit=at_batch(batch, kill))
    train(tmp_path / "run", change, resume=True)
    assert results(tmp_path / "run") == wanted


def test_a_run_killed_amid_an_epoch_with_every_augmentation_on_ends_like_the_unbroken_one(train, tmp_path):
    """Pairs of images that are mixed lie in different batches: batches are odd, and epochs cut the passes."""
    changes = [
        "data.class_mode=sparse",
        "data.balance=oversample",
        "training.metrics=[accuracy]",
        "training.class_weight={a: 1, b: 2}",
        "training.steps_per_epoch=3",
        "training.epochs=3",
        "augmentation.mixup=0.4",
        "augmentation.cutmix=1",
        "augmentation.mix_probability=0.9",
        "augmentation.randaugment={}",
        "augmentation.color_jitter={brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.1}",
        "augmentation.grayscale=0.3",
        "augmentation.gaussian_blur=[0, 1]",
        "augmentation.jpeg_quality=[30, 90]",
        "augmentation.erasing=0.5",
    ]
    train(tmp_path / "unbroken", *changes)
    for number, batch in enumerate([2, 3]):
        with pytest.raises(Killed):
            train(tmp_path / "run", *changes, resume=number > 0, emit=at_batch(batch, kill))
    train(tmp_path / "run", *changes, resume=True)
    assert results(tmp_path / "run") == results(tmp_path / "unbroken")


def test_a_signal_ends_it_after_the_batch_and_says_how_to_go_on(train, unbroken, tmp_path):
    run, batches = tmp_path / "a run", []

    def emit(event):
        if isinstance(event, BatchTrained):
            batches.append(event.step)
            if len(batches) == 6:
                signal.raise_signal(signal.SIGTERM)

    # An hour between checkpoints: the one inside the epoch is the signal's.
    with pytest.raises(InterruptedRunError) as caught:
        train(run, "training.checkpoint_minutes=60", emit=emit)
    assert caught.value.exit_status == 130
    assert "stopped by the user after batch 2 of epoch 2" in str(caught.value)
    assert f"resume with: imgtrain train '{run}/config.yaml' --resume" in str(caught.value)
    assert len(batches) == 6
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    with (run / "history.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1

    texts = []
    train(run, resume=True, emit=lambda event: isinstance(event, Message) and texts.append(event.text))
    assert "resuming at epoch 2, batch 3 of 4" in texts
    assert results(run) == results(unbroken)
    facts = json.loads((run / "run.json").read_text())
    assert len(facts["resumed"]) == 1
    assert facts["started"] <= facts["resumed"][0] <= facts["finished"]


def test_a_second_signal_ends_it_at_once(train, tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="interrupted"):
        train(tmp_path / "run", emit=at_batch(6, twice))
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "interrupted"


def test_a_kill_after_the_last_epoch_trains_nothing_again(train, unbroken, tmp_path):
    def emit(event):
        if isinstance(event, Progress) and event.task.startswith("evaluating"):
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", emit=emit)
    train(tmp_path / "run", resume=True, emit=at_batch(1, lambda: pytest.fail("a batch was trained again")))
    assert results(tmp_path / "run") == results(unbroken)


def test_a_run_killed_before_its_first_checkpoint_begins_again(train, unbroken, tmp_path):
    with pytest.raises(Killed):
        train(tmp_path / "run", "training.checkpoint_minutes=60", emit=at_batch(2, kill))
    texts = []
    train(
        tmp_path / "run",
        resume=True,
        emit=lambda event: isinstance(event, Message) and texts.append(event.text),
    )
    assert any("no checkpoint yet; starting from the first epoch" in text for text in texts)
    assert results(tmp_path / "run") == results(unbroken)


@pytest.fixture(scope="module")
def stopped(folders, tmp_path_factory):
    """Return a run that was killed in its third epoch, with two checkpoints."""
    from imgtrain import make_plan
    from imgtrain.config import load_config
    from imgtrain.workflows.train import train

    (folders / "c.yaml").write_text(json.dumps(ASKED))
    directory = tmp_path_factory.mktemp("stopped") / "run"
    config = load_config(folders / "c.yaml", [f"output.directory={directory}"])
    with pytest.raises(Killed):
        train(make_plan(config), emit=at_batch(10, kill))
    # A thread outlives what stands for a kill here.
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    return directory


@pytest.fixture
def killed(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("damage", ["cut short", "flipped", "missing", "manifest"])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(train, unbroken, killed, damage):
    newest, older = sorted((killed / "checkpoints").glob("*.json"))[::-1]
    names = [
        {entry["file"] for entry in json.loads(path.read_bytes().partition(b"\n")[2])["arrays"].values()}
        for path in (newest, older)
    ]
    victim = newest if damage == "manifest" else killed / "checkpoints" / min(names[0] - names[1])
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(content[:-1] if damage == "cut short" else content)
    warnings = []
    train(
        killed,
        resume=True,
        emit=lambda event: (
            isinstance(event, Message) and event.severity == "warning" and warnings.append(event.text)
        ),
    )
    assert any(newest.name in text for text in warnings)
    assert results(killed) == results(unbroken)


def test_with_all_checkpoints_damaged_it_says_so_and_touches_nothing(train, killed):
    for path in (killed / "checkpoints").glob("*.json"):
        path.write_bytes(b"x")
    before = (killed / "run.json").read_bytes()
    with pytest.raises(RunFileError, match="all checkpoints are damaged"):
        train(killed, resume=True)
    assert (killed / "run.json").read_bytes() == before


def test_another_configuration_is_refused_with_every_key_that_differs(train, killed):
    changes = ("data.batch_size=3", "model.layers.3={Dropout: 0.4}", "training.epochs=5")
    before = (killed / "run.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(killed, *changes, resume=True)
    text = str(caught.value)
    assert "data.batch_size: is 3; in the run to resume it is" in text
    assert "model.layers[3].Dropout.rate: is 0.4; in the run to resume it is 0.3" in text
    assert "training.epochs: is 5; in the run to resume it is 6" in text
    assert "--set training.epochs=5" in text
    assert (killed / "run.json").read_bytes() == before


def test_other_images_are_refused_and_named(train, killed, folders):
    picture, other = folders / "train/a/003.png", folders / "train/b/004.png"
    content = picture.read_bytes()
    before = (killed / "run.json").read_bytes()
    try:
        picture.write_bytes(other.read_bytes())
        shutil.copy(other, folders / "train/b/new.png")
        with pytest.raises(DataError) as caught:
            train(killed, resume=True)
    finally:
        picture.write_bytes(content)
        (folders / "train/b/new.png").unlink()
    text = str(caught.value)
    assert "train: of 24 images 1 new, first b/new.png; 1 changed, first a/003.png" in text
    assert "different images" in text
    assert (killed / "run.json").read_bytes() == before


def test_a_run_in_another_place_with_another_cache_goes_on(train, unbroken, killed, tmp_path):
    killed.rename(tmp_path / "moved")
    train(tmp_path / "moved", "data.cache=memory", resume=True)
    assert results(tmp_path / "moved") == results(unbroken)


def test_a_completed_run_says_so_and_goes_on_with_more_epochs(train, unbroken, tmp_path):
    never = "training.early_stopping=null"
    longer = train(tmp_path / "longer", never, "training.epochs=4")
    train(tmp_path / "run", never, "training.epochs=2")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    texts = []
    done = train(
        tmp_path / "run",
        never,
        "training.epochs=2",
        resume=True,
        emit=lambda event: isinstance(event, Message) and texts.append(event.text),
    )
    assert texts == ["the run is already completed"]
    assert done.metrics == json.loads((tmp_path / "run/metrics.json").read_text())
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before

    epochs = []
    train(
        tmp_path / "run",
        never,
        "training.epochs=4",
        resume=True,
        emit=lambda event: isinstance(event, EpochEnded) and epochs.append(event.epoch),
    )
    assert epochs == [2, 3]
    assert results(tmp_path / "run") == results(longer.directory)


def test_an_early_stop_leaves_no_checkpoint_and_more_epochs_change_nothing(train, unbroken, tmp_path):
    facts = json.loads((unbroken / "run.json").read_text())
    assert facts["stopped_early"]
    assert not (unbroken / "checkpoints").exists()
    texts = []
    train(
        unbroken,
        "training.epochs=99",
        resume=True,
        emit=lambda event: isinstance(event, Message) and texts.append(event.text),
    )
    assert texts == ["the run is already completed"]


def test_a_full_disk_keeps_what_was_trained_and_the_run_goes_on_later(train, unbroken, tmp_path, monkeypatch):
    real = os.fsync

    def full(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".arrays":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with pytest.raises(RunFileError) as caught:
        train(
            tmp_path / "run", emit=at_batch(6, lambda: monkeypatch.setattr(run_directory.os, "fsync", full))
        )
    assert "No space left on device" in str(caught.value)
    assert "--resume" in str(caught.value)
    assert json.loads((tmp_path / "run/run.json").read_text())["status"] == "failed"
    assert not list((tmp_path / "run").rglob(".*"))
    monkeypatch.setattr(run_directory.os, "fsync", real)
    train(tmp_path / "run", resume=True)
    assert results(tmp_path / "run") == results(unbroken)


def test_a_disk_that_fills_at_the_model_keeps_the_training(train, unbroken, tmp_path, monkeypatch):
    from imgtrain.model import archive
    from imgtrain.workflows import train_and_evaluate

    save_model = train_and_evaluate.save_model

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def save_on_a_full_disk(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(archive.zipfile.ZipFile, "writestr", full)
            save_model(*arguments)

    with monkeypatch.context() as patch:
        # The check before training saves archives, too, while there is room.
        patch.setattr(train_and_evaluate, "save_model", save_on_a_full_disk)
        with pytest.raises(RunFileError, match=r"model\.keras: cannot be written: No space"):
            train(tmp_path / "run")
    train(tmp_path / "run", resume=True, emit=at_batch(1, lambda: pytest.fail("a batch was trained again")))
    assert results(tmp_path / "run") == results(unbroken)


def test_an_image_that_breaks_during_training_keeps_the_batches_before(train, unbroken, tmp_path, folders):
    picture = folders / "train/a/005.png"
    content, facts = picture.read_bytes(), picture.stat()
    with pytest.raises(DataError) as caught:
        train(
            tmp_path / "run",
            "data.cache=none",
            "training.checkpoint_minutes=60",
            emit=at_batch(2, picture.unlink),
        )
    assert "a/005.png" in str(caught.value)
    assert "--resume" in str(caught.value)
    picture.write_bytes(content)
    os.utime(picture, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    train(tmp_path / "run", resume=True)
    assert results(tmp_path / "run") == results(unbroken)


def test_a_run_under_way_is_not_touched_by_another(train, unbroken, tmp_path):
    def another():
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(
                RunFileError, match=f"another run is active in this directory .process {os.getpid()} on"
            ):
                train(tmp_path / "run", **options)

    train(tmp_path / "run", emit=at_batch(3, another))
    assert results(tmp_path / "run") == results(unbroken)


def test_the_lock_of_a_dead_process_is_none(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    (run.path / ".lock").write_text("")
    with run.locked():
        run.raise_if_taken(overwrite=False)
    run.run.write_text(json.dumps({"status": "running", "started": "yesterday"}))
    with pytest.raises(RunFileError, match=r"\(killed, started yesterday\)\n.*--resume"):
        run.raise_if_taken(overwrite=False)


def test_overwrite_removes_the_checkpoints(train, unbroken, killed):
    train(killed, overwrite=True)
    assert results(killed) == results(unbroken)
    assert not (killed / "checkpoints").exists()


def test_memory_that_ends_says_which_batch_size_would_fit(train, tmp_path, monkeypatch):
    from imgtrain.batches.batches import Batches

    real = Batches.batch

    def no_memory(self, epoch, step):
        if epoch == 1:
            raise MemoryError
        return real(self, epoch, step)

    monkeypatch.setattr(Batches, "batch", no_memory)
    with pytest.raises(ConfigError, match=r"data.batch_size: out of memory with batch_size 7\n.*: 3$"):
        train(tmp_path / "run")


def test_a_key_that_an_earlier_imgtrain_did_not_have_is_no_change(folders):
    """Its checkpoint does not name the key; its run was as the default says."""
    from imgtrain.config.load import parse_config
    from imgtrain.config.render import to_plain
    from imgtrain.training.resume import _find_changes

    def config(**evaluation):
        return parse_config({"data": {"train": str(folders)}, "evaluation": evaluation})

    earlier = to_plain(config())
    del earlier["evaluation"]["calibrate"]
    _find_changes(config(), earlier, "here")
    with pytest.raises(ConfigError, match=r"evaluation\.calibrate"):
        _find_changes(config(calibrate=True), earlier, "here")
