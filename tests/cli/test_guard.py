"""What becomes of errors that the system raises inside a command: a full disk, no file handle left."""

import errno
import os
import signal

import pytest
import typer

from imgtrain.cli.guard import guarded


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "free some space"), (errno.EMFILE, "ulimit -n"), (errno.EROFS, "--output")],
)
def test_what_the_system_has_run_out_of_is_no_traceback(capsys, number, said):
    def command():
        raise OSError(number, os.strerror(number), "a\nfile")

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as caught:
        guarded(command)()
    signal.signal(signal.SIGTERM, handler)
    assert caught.value.exit_code == 4
    told = capsys.readouterr().err
    assert told.startswith(f"error: a\\nfile: {os.strerror(number)}\n")
    assert said in told


def test_any_other_error_of_the_system_is_a_bug_and_has_its_traceback():
    def command():
        raise OSError(errno.EBADF, "Bad file descriptor")

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="Bad file"):
        guarded(command)()
    signal.signal(signal.SIGTERM, handler)
