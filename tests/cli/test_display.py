"""What a command prints while it works, and what it writes into the log."""

import os

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
