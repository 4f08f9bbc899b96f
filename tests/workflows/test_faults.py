"""What the system can do to a command at any moment: a full disk, no file handle left, no home, a log that is gone."""

import contextlib
import errno
import os
import signal
import threading

import pytest
import typer

from imgtrain import events
from imgtrain.cli.display import Display
from imgtrain.cli.guard import guarded
from imgtrain.errors import RunFileError
from imgtrain.run.run_directory import RunDirectory, write_text
from imgtrain.training.graceful_shutdown import GracefulShutdown


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFileError, match="cannot be written: Permission denied"):
        RunDirectory(tmp_path / "run").create(overwrite=False)


def test_a_directory_that_disappears_is_an_error(tmp_path):
    with pytest.raises(RunFileError, match="No such file"):
        write_text(tmp_path / "gone" / "history.csv", "x")


def test_files_are_written_with_few_handles_left_or_say_so(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(RunFileError, match="Too many open files"):
            write_text(tmp_path / "history.csv", "x")
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_first_signal_is_noted_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with GracefulShutdown() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with GracefulShutdown() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_no_signal_is_touched():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with GracefulShutdown():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
