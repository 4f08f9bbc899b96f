"""What a notebook shows: the output of IPython, without starting a kernel."""

import sys
import types

import pytest
import rich.console

from imgtrain import events
from imgtrain.cli import notebook
from imgtrain.cli.display import Display, is_interactive


class Cell:
    def __init__(self, shown):
        self.shown = [shown]

    def update(self, html):
        self.shown.append(html)


@pytest.fixture
def cells(monkeypatch):
    """Pretend to be a notebook, and return what it is given to show."""
    cells = []

    def display(shown, *, display_id=False, **options):
        cells.append(Cell(shown))
        return cells[-1]

    module = types.ModuleType("IPython.display")
    module.display, module.HTML = display, str
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return cells


def show_an_epoch(display, tmp_path):
    logs = {"loss": 0.5, "val_loss": 0.25, "learning_rate": 0.001}
    display.show(events.RunOpened(tmp_path, tmp_path / "log.txt"))
    display.show(events.EpochStarted(0, 1, 5, 20))
    display.show(events.BatchTrained(2, 8, {"loss": 0.75}))
    display.show(events.BatchTrained(5, 20, {"loss": 0.5}))
    display.show(events.EpochEnded(0, 1, 2.0, 10.0, logs, best=True))
    display.show(events.TrainingEnded(1, 0, False))


def test_one_cell_output_is_redrawn_and_then_removed(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "_SECONDS_BETWEEN_UPDATES", 0)
    with Display() as display:
        show_an_epoch(display, tmp_path)
    live = [cell for cell in cells if len(cell.shown) > 1]
    assert len(live) == 1
    assert "loss: 0.7500" in live[0].shown[1]
    assert live[0].shown[-1] == ""
    # The log is a file, not a cell.
    assert "loss: 0.5000" in (tmp_path / "log.txt").read_text()


def test_what_ends_at_once_leaves_no_empty_output(cells, tmp_path):
    with Display() as display:
        show_an_epoch(display, tmp_path)
    assert all(len(cell.shown) == 1 for cell in cells)


def test_a_notebook_is_interactive_and_a_pipe_is_not(cells, monkeypatch):
    assert is_interactive()
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: False)
    assert not is_interactive()
