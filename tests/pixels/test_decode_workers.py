"""Whatever a decoder does, it does to a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgtrain.dataset.index import index_folder
from imgtrain.errors import RunFileError
from imgtrain.pixels import decode_workers as isolation
from imgtrain.pixels import image_store as pixels_module
from imgtrain.pixels.decode import DecodedImage, DecodeSettings, UndecodableImage, decode_image
from imgtrain.pixels.decode_workers import decode_each_in_worker, decode_in_worker, stop_idle_workers
from imgtrain.pixels.image_store import open_image_store

SETTINGS = DecodeSettings(6, 5)

HONEST_DECODER = isolation._START

# A decoder that goes wrong by the name of the file, in the process that decodes.
HOSTILE_DECODER = """
import os, sys, time
sys.path[:] = sys.argv[2:]
from PIL import ImageFile
from imgtrain.pixels import decode_workers as isolation
isolation.MOST_BYTES = 256 << 20
decode, load, name = isolation.decode_image, ImageFile.ImageFile.load, ""
def decode_by_name(path, settings):
    global name
    name = os.path.basename(path)
    return decode(path, settings)
def hostile(image):
    if "crash" in name:
        os.abort()
    if "exit" in name:
        os._exit(3)
    if "hang" in name:
        time.sleep(600)
    if "once" in name and not os.path.exists(name + ".tried"):
        open(name + ".tried", "w").close()
        os.abort() if "abort" in name else time.sleep(600)
    if "greedy" in name:
        image.hoard = [bytearray(1 << 24) for _ in range(1 << 10)]
    return load(image)
isolation.decode_image, ImageFile.ImageFile.load = decode_by_name, hostile
isolation.serve(sys.argv[1])
"""


@pytest.fixture
def hostile_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stop_idle_workers()
    monkeypatch.setattr(isolation, "_START", HOSTILE_DECODER)
    monkeypatch.setattr(isolation, "MOST_SECONDS", 10.0)
    yield
    stop_idle_workers()


@pytest.fixture(params=["inherited channel", "channel by address"])
def each_channel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start the processes in both ways, the second of which is that of Windows."""
    stop_idle_workers()
    monkeypatch.setattr(isolation, "_INHERIT", request.param == "inherited channel")
    yield
    stop_idle_workers()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], Path]:
    def save(name: str) -> Path:
        rng = np.random.default_rng(sum(name.encode()))
        Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / name)
        return tmp_path / name

    return save


def idle_process() -> int:
    (process,) = isolation._idle
    return process._process.pid


@pytest.mark.usefixtures("each_channel")
def test_the_answer_is_that_of_the_decoder(save: Callable[[str], Path], tmp_path: Path) -> None:
    isolated, direct = (decode(save("a.png"), SETTINGS) for decode in (decode_in_worker, decode_image))
    np.testing.assert_array_equal(isolated.pixels, direct.pixels)
    assert (isolated.width, isolated.height, isolated.digest) == (7, 9, direct.digest)
    assert isolated.stats == direct.stats
    (tmp_path / "empty.png").touch()
    with pytest.raises(UndecodableImage, match=r"^empty file$"):
        decode_in_worker(tmp_path / "empty.png", SETTINGS)


@pytest.mark.usefixtures("hostile_decoder")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash.png", r"^its decoder crashed \(SIGABRT\)$"),
        ("exit.png", r"^its decoder ended \(status 3\)$"),
        ("greedy.png", r"^not enough memory to decode it$"),
    ],
)
def test_a_decoder_that_dies_is_a_reason_and_the_next_file_is_decoded(
    save: Callable[[str], Path], name: str, reason: str
) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        decode_in_worker(save(name), SETTINGS)
    assert decode_in_worker(save("good.png"), SETTINGS).pixels.any()


@pytest.mark.usefixtures("hostile_decoder")
def test_a_decoder_that_hangs_is_ended(save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decode_in_worker(save("good.png"), SETTINGS)
    process = idle_process()
    monkeypatch.setattr(isolation, "MOST_SECONDS", 0.5)
    with pytest.raises(UndecodableImage, match=r"^its decoder was stopped after"):
        decode_in_worker(save("hang.png"), SETTINGS)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.usefixtures("hostile_decoder")
@pytest.mark.parametrize("name", ["once.png", "once-abort.png"])
def test_a_file_that_fails_once_is_tried_again_alone(
    save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)  # of the processes too, which note there what they have tried
    monkeypatch.setattr(isolation, "MOST_SECONDS", 1.0)
    assert outcomes([save("a.png"), save(name), save("b.png")]) == ["", "", ""]
    assert Path(f"{name}.tried").exists()


def test_starting_does_not_count_as_decoding(
    save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_idle_workers()
    monkeypatch.setattr(isolation, "_START", f"import time; time.sleep(2); {HONEST_DECODER}")
    monkeypatch.setattr(isolation, "MOST_SECONDS", 1.0)
    assert outcomes([save("a.png")]) == [""]


@pytest.mark.usefixtures("each_channel")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(3)", r"a decoding process ended \(status 3\)"),
        ("import time; time.sleep(600)", "did not start within 1 seconds"),
    ],
)
def test_no_file_is_blamed_for_processes_that_cannot_start(
    save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    stop_idle_workers()
    monkeypatch.setattr(isolation, "_START", code)
    monkeypatch.setattr(isolation, "MOST_SECONDS_TO_START", 1.0)
    with pytest.raises(RunFileError, match=said):
        decode_in_worker(save("a.png"), SETTINGS)


def outcomes(files: list[Path]) -> list[str]:
    """Return the reason for each file, or nothing where there is a picture, which must be the right one."""
    found = []
    for file, outcome in zip(files, decode_each_in_worker(files, SETTINGS), strict=True):
        if isinstance(outcome, UndecodableImage):
            found.append(outcome.reason)
        else:
            assert outcome.digest == decode_image(file, SETTINGS).digest
            found.append("")
    return found


@pytest.mark.usefixtures("hostile_decoder")
def test_of_many_files_those_that_kill_their_decoder_are_named_and_no_other(
    save: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "MOST_SECONDS", 1.0)
    (tmp_path / "empty.png").touch()
    names = ["a", "crash1", "crash2", "b", "hang", "c", "empty", "greedy", "d", "exit"]
    files = [tmp_path / "empty.png" if name == "empty" else save(f"{name}.png") for name in names]
    crashed = "its decoder crashed (SIGABRT)"
    assert outcomes(files) == [
        *("", crashed, crashed, "", "its decoder was stopped after 1 seconds", ""),
        *("empty file", "not enough memory to decode it", "", "its decoder ended (status 3)"),
    ]
    assert not isolation._idle  # the last file ended the last process
    assert outcomes(files[:4]) == ["", crashed, crashed, ""]
    assert outcomes([]) == []


def test_what_is_asked_for_and_not_taken_is_not_taken_for_the_next_answer(
    save: Callable[[str], Path],
) -> None:
    files = [save(f"{name}.png") for name in "abcdef"]
    asked = decode_each_in_worker(files, SETTINGS)
    next(asked)
    asked.close()
    assert outcomes(files[::-1]) == [""] * len(files)


@pytest.mark.usefixtures("hostile_decoder")
def test_a_larger_file_may_take_longer(save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decode_in_worker(save("good.png"), SETTINGS)
    monkeypatch.setattr(isolation, "USUAL_SECONDS", 0.2)
    small, large, huge = (save(f"hang{number}.png") for number in range(3))
    os.truncate(large, 1 << 20)
    os.truncate(huge, 1 << 30)
    monkeypatch.setattr(isolation, "MOST_SECONDS", 2.0)
    stopped = "its decoder was stopped after"
    assert outcomes([small, large, huge]) == [f"{stopped} {seconds} seconds" for seconds in (0, 1, 2)]


@pytest.mark.usefixtures("each_channel")
def test_a_file_is_not_blamed_for_a_process_that_died_before(save: Callable[[str], Path]) -> None:
    stop_idle_workers()
    decode_in_worker(save("a.png"), SETTINGS)
    process = idle_process()
    os.kill(process, signal.SIGKILL)
    assert decode_in_worker(save("b.png"), SETTINGS).pixels.any()
    assert idle_process() != process


@pytest.mark.usefixtures("hostile_decoder")
def test_a_folder_survives_them_all(
    image_folders: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folders({"a": 6, "b": 6})
    for name in ("crash.png", "exit.png", "greedy.png", "hang.png"):
        shutil.copy(root / "a" / "00.png", root / "b" / name)
    monkeypatch.setattr(isolation, "MOST_SECONDS", 1.5)
    folder = index_folder(root)
    tried_again: list[str] = []

    def watch(files: list[Path], settings: DecodeSettings) -> Iterator[DecodedImage | UndecodableImage]:
        tried_again.extend(file.name for file in files)
        return decode_each_in_worker(files, settings)

    monkeypatch.setattr(pixels_module, "decode_each_in_worker", watch)
    for _ in range(2):  # decoded, then found in the cache
        pixels = open_image_store(folder, SETTINGS, cache="disk", cache_directory=tmp_path / "store")
        bad = {folder.paths[index] for index in pixels.bad}
        assert bad == {f"b/{name}.png" for name in ("crash", "exit", "greedy", "hang")}
    assert tried_again == ["crash.png", "exit.png", "greedy.png", "hang.png"]
    # Whatever it was has gone: no verdict stays in the cache.
    stop_idle_workers()
    monkeypatch.setattr(isolation, "_START", HONEST_DECODER)
    pixels = open_image_store(folder, SETTINGS, cache="disk", cache_directory=tmp_path / "store")
    assert not pixels.bad


def test_relative_paths_are_those_of_the_caller(
    save: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decode_in_worker(save("a.png"), SETTINGS)  # starts a process in the present folder
    monkeypatch.chdir(tmp_path)
    assert decode_in_worker("a.png", SETTINGS).pixels.any()


def test_from_many_threads(save: Callable[[str], Path]) -> None:
    files = [save(f"{number}.png") for number in range(8)]
    expected = [decode_image(file, SETTINGS).digest for file in files]
    wrong: list[int] = []

    def work(number: int) -> None:
        digests = {decode_in_worker(files[number], SETTINGS).digest for _ in range(10)}
        if digests != {expected[number]}:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    stop_idle_workers()
    assert not isolation._idle


def test_processes_end_with_the_run_that_started_them(save: Callable[[str], Path]) -> None:
    code = f"""
import os
from imgtrain.pixels import decode_workers as isolation
from imgtrain.pixels.decode import DecodeSettings
isolation.decode_in_worker({str(save("a.png"))!r}, DecodeSettings(4, 4))
print(isolation._idle[0]._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    process = int(done.stdout)
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the process still runs")
