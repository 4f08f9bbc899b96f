"""What a command prints while it works, and what it writes into the log."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from imgtrain import events
from imgtrain.cli.display import Display


def test_a_log_on_a_full_disk_does_not_end_the_run(capsys, tmp_path):
    with Display() as display:
        display.show(events.RunOpened(tmp_path, tmp_path / "log.txt"))
        os.close(os.dup(display._log_file.fileno()))
        # Linux's device that is always full.
        os.dup2(os.open("/dev/full", os.O_WRONLY), display._log_file.fileno())
        display.show(events.Message("one"))
        display.show(events.Message("two", "warning"))
    told = capsys.readouterr()
    assert "one" in told.out
    assert "two" in told.err


# Its table has a title and a header with styles.
MODEL = events.ModelBuilt((("dense (Dense)", "3", 12, 12),), 12, 12, 48, 144)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def show(monkeypatch):
    """Return a function that shows a short run on a standard output, and returns what came out."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")

    def run(out, **options):
        monkeypatch.setattr(sys, "stdout", out)
        logs = {"loss": 0.5, "val_loss": 0.25, "learning_rate": 0.001}
        with Display(**options) as display:
            display.show(events.Progress("decoding train", 0, 20, "images"))
            display.show(events.Progress("decoding train", 20, 20, "images"))
            display.show(events.Message("one [red]message[/red]"))
            display.show(MODEL)
            display.show(events.EpochStarted(0, 1, 5, 20))
            display.show(events.BatchTrained(5, 20, {"loss": 0.5}))
            display.show(events.EpochEnded(0, 1, 2.0, 10.0, logs, best=True))
            display.show(events.TrainingEnded(1, 0, stopped_early=False))
        return out.getvalue()

    return run


def test_a_terminal_shows_bars_and_a_table_in_colour(show):
    text = show(Terminal())
    assert "\x1b[" in text
    assert "━" in text
    assert "val_loss" in text
    assert "Epoch 1/1 -" not in text
    # The cursor is shown again.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("out", "environment"),
    [(io.StringIO, {}), (Terminal, {"NO_COLOR": "1"}), (Terminal, {"TERM": "dumb"})],
    ids=["no terminal", "NO_COLOR", "dumb terminal"],
)
def test_elsewhere_there_are_plain_lines(show, monkeypatch, out, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = show(out())
    assert "\x1b" not in text
    assert "━" not in text
    assert "decoding train: 20 images in" in text
    assert "one [red]message[/red]\n" in text
    assert "Epoch 1/1 - 2.0 s - 10 images/s - loss: 0.5000 - val_loss: 0.2500 - best" in text


def test_quiet_shows_warnings_and_results_only(show, capsys):
    assert show(io.StringIO(), quiet=True) == ""
    with Display(quiet=True) as display:
        display.show(events.Message("look out", "warning"))
    assert "look out" in capsys.readouterr().err


def test_the_log_is_plain_whatever_the_terminal_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display() as display:
        display.show(events.Message("before the run"))
        display.show(events.RunOpened(tmp_path, tmp_path / "log.txt"))
        display.show(MODEL)
        display.show(events.EpochStarted(0, 1, 5, 20))
        display.show(events.EpochEnded(0, 1, 2.0, 10.0, {"loss": 0.5, "learning_rate": 0.1}, best=True))
        display.show(events.TrainingEnded(1, 0, stopped_early=False))
        display.show(events.Message("look out", "warning"))
    log = (tmp_path / "log.txt").read_text()
    assert "\x1b" not in log
    assert log.splitlines()[0] == "before the run"
    assert log.splitlines()[-1] == "warning: look out"


def test_the_real_command_fits_a_narrow_terminal(tmp_path, make_folders):
    """Through a pseudo-terminal of 50 columns, as a window would be."""
    make_folders(tmp_path, {"photos": {"a": 5, "b": 5}})
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    hidden = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [sys.executable, "-m", "imgtrain", "check", str(tmp_path / "photos")],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(follower)
    output = b""
    # Linux ends the reading with an error when the last process has closed the other side.
    with contextlib.suppress(OSError):
        while part := os.read(leader, 65536):
            output += part
    os.close(leader)
    assert process.wait() == 0
    text = output.decode()
    assert "\x1b[1m" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    final = [line for line in plain.replace("\r\n", "\n").split("\n") if "\r" not in line]
    assert max(map(len, final)) <= 50
    assert "0 errors" in plain
