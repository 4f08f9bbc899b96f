"""The pixels of a folder: the same from disk, memory and files, and never stale, damaged or half written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from PIL import Image

from imgtrain.dataset.index import ImageFolder, index_folder
from imgtrain.errors import DataError, RunFileError
from imgtrain.events import Event, Message, Progress
from imgtrain.pixels import cache_files, decode
from imgtrain.pixels import decode_folder as decoding_pass
from imgtrain.pixels import image_store as pixels_module
from imgtrain.pixels import packed_file as pixel_file
from imgtrain.pixels.decode import DecodeSettings, decode_image
from imgtrain.pixels.decode_folder import decode_unchanged
from imgtrain.pixels.image_store import ImageStore, cache_key, open_image_store

SETTINGS = DecodeSettings(6, 5)
Outcomes = Iterator[decode.DecodedImage | decode.UndecodableImage]


@pytest.fixture
def folder(image_folders: Callable[..., Path]) -> ImageFolder:
    root = image_folders({"a": 9, "b": 8})
    (root / "a" / "empty.jpg").write_bytes(b"")
    (root / "b" / "html.png").write_bytes(b"<html>")
    return index_folder(root)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def watch_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return a function that puts another function in the place of the decoder of some images."""

    def put(decoder: Callable[..., Any]) -> None:
        monkeypatch.setattr(decoding_pass, "decode_unchanged", decoder)
        monkeypatch.setattr(pixels_module, "decode_unchanged", decoder)

    return put


@pytest.fixture
def decoded(watch_decoding: Callable[..., None]) -> list[str]:
    """The names of all files that are decoded, in order."""
    names: list[str] = []

    def watch(folder: ImageFolder, indices: Sequence[int], settings: DecodeSettings) -> Outcomes:
        names.extend(folder.paths[index] for index in indices)
        return decode_unchanged(folder, indices, settings)

    watch_decoding(watch)
    return names


def open_disk(folder: ImageFolder, store: Path, **options: Any) -> ImageStore:
    return open_image_store(folder, SETTINGS, cache="disk", cache_directory=store, **options)


def the_file(store: Path) -> Path:
    (file,) = store.glob("*.pixels")
    return file


def everything(pixels: ImageStore) -> np.ndarray:
    return pixels.read(np.arange(len(pixels)))


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_disk_memory_and_none_are_the_same(folder: ImageFolder, store: Path, color_mode: str) -> None:
    settings = DecodeSettings(6, 5, color_mode)
    kinds = [
        open_image_store(folder, settings, cache=cache, cache_directory=store)
        for cache in ("disk", "disk", "memory", "none")
    ]
    indices = np.array([3, 0, 3, 18, 9])
    expected = np.stack(
        [
            np.zeros(settings.shape, np.uint8)
            if folder.paths[index] in ("a/empty.jpg", "b/html.png")
            else decode_image(folder.file(index), settings).pixels
            for index in indices
        ]
    )
    assert not expected[-1].any()  # one of them is a bad image
    for pixels in kinds:
        assert pixels.shape == settings.shape
        assert len(pixels) == len(folder) == 19
        assert dict(pixels.bad) == dict(kinds[0].bad)
        assert set(pixels.bad) == {folder.paths.index("a/empty.jpg"), folder.paths.index("b/html.png")}
        np.testing.assert_array_equal(pixels.read(indices), expected)
        out = np.full((5, *settings.shape), 77, np.uint8)
        assert pixels.read(indices, out) is out
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(pixels.digests, kinds[0].digests)
        np.testing.assert_array_equal(pixels.original_sizes, kinds[0].original_sizes)
        assert pixels.read(np.array([], int)).shape == (0, *settings.shape)
    assert kinds[0].digests[3].tobytes() == decode_image(folder.file(3), settings).digest
    assert kinds[0].original_sizes[3].tolist() == [9, 7]


@pytest.mark.parametrize("cache", ["disk", "memory", "none"])
def test_wrong_indices_and_a_wrong_out_are_refused(folder: ImageFolder, store: Path, cache: Any) -> None:
    pixels = open_image_store(folder, SETTINGS, cache=cache, cache_directory=store)
    for index in (-1, len(folder)):
        with pytest.raises(IndexError):
            pixels.read(np.array([index]))
    wide = np.empty((1, 6, 5, 6), np.uint8)
    for out in (np.empty((1, 6, 5, 3), float), np.empty((2, 6, 5, 3), np.uint8), wide[..., ::2]):
        with pytest.raises(ValueError, match="C-contiguous uint8"):
            pixels.read(np.array([0]), out)


def test_a_second_run_decodes_nothing_again(folder: ImageFolder, store: Path, decoded: list[str]) -> None:
    first = everything(open_disk(folder, store))
    assert len(decoded) == 19
    np.testing.assert_array_equal(everything(open_disk(folder, store)), first)
    assert len(decoded) == 19


def test_progress_goes_from_nothing_to_all(folder: ImageFolder, store: Path) -> None:
    events: list[Event] = []
    open_disk(folder, store, task="decoding train", emit=events.append)
    assert events[0] == Progress("decoding train", 0, 19)
    assert events[-1] == Progress("decoding train", 19, 19)
    assert len(events) < 10
    events.clear()
    open_disk(folder, store, emit=events.append)
    assert events == []


def test_bad_images_are_named_with_the_reason(folder: ImageFolder) -> None:
    pixels = open_image_store(folder, SETTINGS, cache="memory")
    reasons = {folder.paths[index]: reason for index, reason in pixels.bad.items()}
    assert reasons.keys() == {"a/empty.jpg", "b/html.png"}
    assert reasons["a/empty.jpg"] == "empty file"
    assert "starts with b'<html>'" in reasons["b/html.png"]


class TestKey:
    def test_differs_when_anything_does(self, folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = [cache_key(folder, SETTINGS)]
        keys += [
            cache_key(folder, other)
            for other in (
                DecodeSettings(5, 6),
                DecodeSettings(6, 5, "rgba"),
                DecodeSettings(6, 5, interpolation="box"),
                DecodeSettings(6, 5, resize="pad"),
            )
        ]
        os.utime(folder.file(2), ns=(1, 1))
        keys.append(cache_key(index_folder(folder.root), SETTINGS))
        folder.file(2).write_bytes(b"longer than before" * 100)
        os.utime(folder.file(2), ns=(1, 1))
        keys.append(cache_key(index_folder(folder.root), SETTINGS))
        folder.file(2).rename(folder.root / "a" / "renamed.png")
        keys.append(cache_key(index_folder(folder.root), SETTINGS))
        moved = folder.root.with_name("moved")
        folder.root.rename(moved)
        keys.append(cache_key(index_folder(moved), SETTINGS))
        monkeypatch.setattr(pixels_module, "DECODER_VERSION", 10**6)
        keys.append(cache_key(index_folder(moved), SETTINGS))
        monkeypatch.setattr("PIL.__version__", "0.0")
        keys.append(cache_key(index_folder(moved), SETTINGS))
        assert len(set(keys)) == len(keys) == 11

    def test_names_that_are_no_utf_8(self, image_folders: Callable[..., Path]) -> None:
        root = image_folders({"a": 1, "b": 1})
        name = os.fsdecode(os.fsencode(root) + b"/a/\xff.png")
        Image.new("RGB", (2, 2)).save(name)
        assert len(cache_key(index_folder(root), SETTINGS)) == 32


def test_never_served_stale(folder: ImageFolder, store: Path) -> None:
    open_disk(folder, store)
    Image.new("RGB", (7, 9), (1, 2, 3)).save(folder.file(0))
    again = open_disk(index_folder(folder.root), store)
    assert again.read(np.array([0]))[0, 0, 0].tolist() == [1, 2, 3]


def test_a_file_that_changes_meanwhile_is_bad(folder: ImageFolder, store: Path) -> None:
    Image.new("RGB", (7, 9), (1, 2, 3)).save(folder.file(0))
    for cache in ("disk", "memory", "none"):
        pixels = open_image_store(folder, SETTINGS, cache=cache, cache_directory=store)
        assert pixels.bad[0] == "changed since the folder was listed"


def test_a_cause_that_is_gone_does_not_stay_in_the_cache(
    folder: ImageFolder, store: Path, watch_decoding: Callable[..., None]
) -> None:
    def fail(folder: ImageFolder, indices: Sequence[int], settings: DecodeSettings) -> Outcomes:
        for index, outcome in zip(indices, decode_unchanged(folder, indices, settings), strict=True):
            yield decode.UndecodableImage("unreadable: Permission denied") if index == 3 else outcome

    watch_decoding(fail)
    assert len(open_disk(folder, store).bad) == 3
    watch_decoding(decode_unchanged)
    assert len(open_disk(folder, store).bad) == 2


class TestDamage:
    """Whatever happens to the file, it is noticed and made again."""

    def rebuilt(self, folder: ImageFolder, store: Path, expected: np.ndarray) -> str:
        events: list[Event] = []
        pixels = open_disk(folder, store, emit=events.append)
        np.testing.assert_array_equal(everything(pixels), expected)
        (message,) = [event for event in events if isinstance(event, Message)]
        assert message.severity == "warning"
        events.clear()
        open_disk(folder, store, emit=events.append)
        assert events == [], "the new file is sound"
        return message.text

    @pytest.mark.parametrize("keep", [0, 10, 4095, 4096, 5000, -1])
    def test_cut_short(self, folder: ImageFolder, store: Path, keep: int) -> None:
        expected = everything(open_disk(folder, store))
        size = the_file(store).stat().st_size
        os.truncate(the_file(store), keep if keep >= 0 else size + keep)
        assert "rebuilding the pixel cache" in self.rebuilt(folder, store, expected)

    @pytest.mark.parametrize(
        "place", ["magic", "version", "header", "first pixel", "last pixel", "table", "end"]
    )
    def test_one_bit_flipped(self, folder: ImageFolder, store: Path, place: str) -> None:
        expected = everything(open_disk(folder, store))
        content = bytearray(the_file(store).read_bytes())
        pixels_end = 4096 + expected.nbytes
        offset = {
            "magic": 3, "version": 16, "header": 60, "first pixel": 4096, "last pixel": pixels_end - 1,
            "table": pixels_end + 40, "end": len(content) - 1,
        }[place]  # fmt: skip
        content[offset] ^= 4
        the_file(store).write_bytes(content)
        assert "rebuilding the pixel cache" in self.rebuilt(folder, store, expected)

    def test_longer_than_it_should_be(self, folder: ImageFolder, store: Path) -> None:
        expected = everything(open_disk(folder, store))
        with the_file(store).open("ab") as file:
            file.write(b"x")
        self.rebuilt(folder, store, expected)

    def test_another_format_version(
        self, folder: ImageFolder, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as context:
            context.setattr(pixel_file, "FORMAT_VERSION", 99)
            expected = everything(open_disk(folder, store))
        assert "it has format version 99" in self.rebuilt(folder, store, expected)

    def test_the_file_of_another_key_under_this_name(
        self, folder: ImageFolder, store: Path, image_folders: Callable[..., Path]
    ) -> None:
        expected = everything(open_disk(folder, store))
        here = the_file(store)
        other = store.with_name("other store")
        open_disk(index_folder(image_folders({"a": 9, "b": 10}, "other", 5)), other)
        the_file(other).replace(here)
        assert "other files or settings" in self.rebuilt(folder, store, expected)

    def test_cut_short_after_it_was_opened(self, folder: ImageFolder, store: Path) -> None:
        pixels = open_disk(folder, store)
        os.truncate(the_file(store), 5000)
        with pytest.raises(RunFileError, match="truncated while in use"):
            everything(pixels)

    def test_replaced_after_it_was_opened(self, folder: ImageFolder, store: Path) -> None:
        pixels = open_disk(folder, store)
        expected = everything(pixels)
        the_file(store).unlink()
        the_file_again = open_disk(folder, store)
        np.testing.assert_array_equal(everything(pixels), expected)
        np.testing.assert_array_equal(everything(the_file_again), expected)


def test_verifies_all_images_of_a_file_of_many_blocks(
    image_folders: Callable[..., Path], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = index_folder(image_folders({"a": 20, "b": 21}))
    settings = DecodeSettings(700, 700)  # a block is two images
    pixels = open_image_store(folder, settings, cache="disk", cache_directory=store)
    with the_file(store).open("r+b") as file:
        file.seek(4096 + 40 * 700 * 700 * 3 + 5)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(pixel_file.UnusablePackedFile, match="image 40"):
        pixel_file.open_packed_file(the_file(store), cache_key(folder, settings), settings, len(pixels))


class TestDiskTrouble:
    def fail(self, number: int, after: int = 0) -> Callable[..., int]:
        calls = iter(range(10**9))

        def call(*arguments: Any) -> int:
            if next(calls) >= after:
                raise OSError(number, os.strerror(number))
            return self.pwrite(*arguments)

        return call

    pwrite = staticmethod(os.pwrite)

    @pytest.fixture(params=["posix_fallocate", "pwrite", "late pwrite", "fsync"])
    def full_disk(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        name = request.param.removeprefix("late ")
        after = 5 if request.param.startswith("late") else 0
        monkeypatch.setattr(os, name, self.fail(errno.ENOSPC, after))

    @pytest.mark.usefixtures("full_disk")
    def test_a_full_disk_is_said_with_sizes_and_leaves_nothing(
        self, folder: ImageFolder, store: Path
    ) -> None:
        with pytest.raises(RunFileError, match=r"needs [\d.]+ KiB, but only [\d,.]+ [MGT]iB are free"):
            open_disk(folder, store)
        assert not list(store.glob("*.p*"))

    @pytest.mark.usefixtures("full_disk")
    def test_auto_goes_on_in_memory(self, folder: ImageFolder, store: Path) -> None:
        events: list[Event] = []
        pixels = open_image_store(folder, SETTINGS, cache="auto", cache_directory=store, emit=events.append)
        messages = [event.text for event in events if isinstance(event, Message)]
        assert len(messages) == 1
        assert "cached in memory for this run" in messages[0]
        assert everything(pixels).any()

    @pytest.mark.usefixtures("full_disk")
    def test_auto_decodes_every_time_when_memory_is_short_too(
        self, folder: ImageFolder, store: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
    ) -> None:
        monkeypatch.setattr(pixels_module, "available_memory_bytes", lambda: 19 * 90 * 2 - 2)
        events: list[Event] = []
        pixels = open_image_store(folder, SETTINGS, cache="auto", cache_directory=store, emit=events.append)
        assert "decoded in every epoch" in next(e.text for e in events if isinstance(e, Message))
        decoded.clear()
        pixels.read(np.array([0]))
        assert decoded == ["a/00.png"]

    def test_without_fallocate_the_free_space_is_asked(
        self, folder: ImageFolder, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "posix_fallocate", self.fail(errno.EOPNOTSUPP))
        assert everything(open_disk(folder, store)).any()
        the_file(store).unlink()
        usage = type("Usage", (), {"free": 5})
        monkeypatch.setattr(pixel_file.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(RunFileError, match=r"5 bytes are free"):
            open_disk(folder, store)

    def test_a_directory_that_cannot_be_made(self, folder: ImageFolder, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(RunFileError, match="cannot be created: Not a directory"):
            open_disk(folder, tmp_path / "file" / "store")

    def test_a_read_only_directory(
        self, folder: ImageFolder, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = everything(open_disk(folder, store))

        def refuse(*_: Any, **__: Any) -> None:  # root may write everywhere, so that chmod would not do
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
        np.testing.assert_array_equal(everything(open_disk(folder, store)), expected)
        the_file(store).unlink()
        with pytest.raises(RunFileError, match=r"cannot be locked: .*Permission denied"):
            open_disk(folder, store)

    def test_without_a_home_directory(self, folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_files.platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
        with pytest.raises(RunFileError, match=r"no home directory .*data\.cache_directory"):
            open_image_store(folder, SETTINGS, cache="disk")

    def test_the_default_is_the_platforms_cache(
        self, folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        open_image_store(folder, SETTINGS)
        assert len(list((tmp_path / "cache" / "imgtrain").glob("*.pixels"))) == 1

    def test_more_than_memory_holds(self, folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> None:
            raise MemoryError

        monkeypatch.setattr(pixels_module.np, "zeros", fail)
        with pytest.raises(RunFileError, match=r"do not fit into memory; set `data\.cache: disk`"):
            open_image_store(folder, SETTINGS, cache="memory")


class TestInterruption:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_leaves_no_file_and_no_thread(
        self, folder: ImageFolder, store: Path, error: type[BaseException]
    ) -> None:
        def interrupt(event: Event) -> None:
            raise error

        with pytest.raises(error):
            open_disk(folder, store, emit=interrupt)
        assert not list(store.glob("*.p*"))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("imgtrain-decode")]

    def test_stops_in_the_middle(
        self,
        folder: ImageFolder,
        store: Path,
        monkeypatch: pytest.MonkeyPatch,
        watch_decoding: Callable[..., None],
    ) -> None:
        monkeypatch.setattr(decoding_pass, "_SECONDS_BETWEEN_EVENTS", 0.01)
        may_go_on = threading.Event()
        begun: list[int] = []
        events: list[Event] = []

        def slow(folder: ImageFolder, indices: Sequence[int], settings: DecodeSettings) -> Outcomes:
            for index, outcome in zip(indices, decode_unchanged(folder, indices, settings), strict=True):
                begun.append(index)
                may_go_on.wait(5)
                yield outcome

        def interrupt(event: Event) -> None:
            if len(events) == 3:
                threading.Timer(0.05, may_go_on.set).start()
                raise KeyboardInterrupt
            events.append(event)

        watch_decoding(slow)
        with pytest.raises(KeyboardInterrupt):
            open_disk(folder, store, emit=interrupt)
        assert 1 <= len(begun) <= decoding_pass.available_cores()
        assert not list(store.glob("*.p*"))

    def test_what_a_killed_run_left_is_removed_but_not_what_another_writes(
        self, folder: ImageFolder, store: Path
    ) -> None:
        store.mkdir()
        key = cache_key(folder, SETTINGS)
        for name in (key, "dead", "alive"):
            (store / f"{name}.partial").write_bytes(b"half")
        with filelock.FileLock(store / "alive.lock"):
            open_disk(folder, store)
        assert [path.name for path in store.glob("*.partial")] == ["alive.partial"]


class TestTwoAtOnce:
    def test_two_processes_on_a_cold_cache_decode_once(
        self, folder: ImageFolder, store: Path, tmp_path: Path
    ) -> None:
        log = tmp_path / "decoded"
        code = f"""
import os, sys, time
from pathlib import Path
from imgtrain.pixels import decode_folder as decoding_pass
from imgtrain.pixels.decode import DecodeSettings
from imgtrain.dataset.index import index_folder
from imgtrain.pixels.image_store import open_image_store
from imgtrain.events import Message
decode = decoding_pass.decode_unchanged
log = os.open({str(log)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def watch(folder, indices, settings):
    for outcome in decode(folder, indices, settings):
        os.write(log, b"x")
        time.sleep(0.1)
        yield outcome
decoding_pass.decode_unchanged = watch
folder = index_folder({str(folder.root)!r})
print("ready", flush=True)
sys.stdin.readline()
messages = []
pixels = open_image_store(folder, DecodeSettings(6, 5), cache="disk", cache_directory=Path({str(store)!r}),
                     emit=lambda event: messages.append(event.text) if isinstance(event, Message) else None)
import json, numpy
print(json.dumps([int(pixels.read(numpy.arange(len(pixels))).sum()), messages]))
"""
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        with runs[0], runs[1]:
            for run in runs:
                assert run.stdout is not None
                assert run.stdout.readline() == "ready\n"
            for run in runs:
                assert run.stdin is not None
                run.stdin.write("\n")
                run.stdin.flush()
            answers = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
        assert log.stat().st_size == 19
        assert answers[0][0] == answers[1][0] > 0
        assert sorted(len(messages) for _, messages in answers) == [0, 1]
        assert any("waiting for it" in text for _, messages in answers for text in messages)

    def test_reading_from_many_threads(self, folder: ImageFolder, store: Path) -> None:
        pixels = open_disk(folder, store)
        expected = everything(pixels)
        wrong: list[int] = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(50):
                indices = rng.integers(0, len(pixels), 8)
                if not np.array_equal(pixels.read(indices), expected[indices]):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_without_a_cache_a_file_that_breaks_later_is_an_error(folder: ImageFolder) -> None:
    pixels = open_image_store(folder, SETTINGS, cache="none")
    folder.file(4).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"04\.png: could be decoded when the run started, but not any more: empty file"
    ):
        pixels.read(np.array([4]))


def test_at_most_one_picture_per_core_is_decoded_at_a_time(
    folder: ImageFolder, monkeypatch: pytest.MonkeyPatch, watch_decoding: Callable[..., None]
) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def watch(folder: ImageFolder, indices: Sequence[int], settings: DecodeSettings) -> Outcomes:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            yield from decode_unchanged(folder, indices, settings)
        finally:
            with lock:
                inside -= 1

    watch_decoding(watch)
    monkeypatch.setattr(decoding_pass, "available_cores", lambda: 3)
    open_image_store(folder, SETTINGS, cache="memory")
    assert 1 <= most <= 3
