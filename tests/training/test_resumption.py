"""What a resumed run takes over from `run.json`."""

from __future__ import annotations

import pytest

from imgtrain.config.load import load_config, parse_config
from imgtrain.run.run_directory import RunDirectory
from imgtrain.training.checkpoint_store import Checkpoint
from imgtrain.training.resume import EarlierRun, describe_resumption


@pytest.mark.parametrize("checkpoint", [None, Checkpoint({}, {}, {})])
def test_the_plan_for_a_time_budget_survives_each_resumption(tmp_path, checkpoint):
    config, run = parse_config({"data": {"train": "."}}), RunDirectory(tmp_path)
    facts = {"started": "2026-01-01T00:00:00+00:00", "planned": {"minutes": 3, "epochs": 40}}
    for times in (1, 2):
        facts = describe_resumption(config, run, EarlierRun(facts, checkpoint))
        assert facts["planned"] == {"minutes": 3, "epochs": 40}
        assert len(facts.get("resumed", [])) == (0 if checkpoint is None else times)


def test_a_new_run_takes_over_nothing(tmp_path):
    assert describe_resumption(parse_config({"data": {"train": "."}}), RunDirectory(tmp_path), None) == {}


def test_the_file_that_a_run_was_started_with_is_remembered_when_its_own_configuration_continues_it(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    for path, epochs in ((tmp_path / "cats.yaml", 2), (run.config, 5)):
        path.write_text(f"data: {{train: .}}\ntraining: {{epochs: {epochs}}}\n")
    begun = describe_resumption(load_config(tmp_path / "cats.yaml", ["training.epochs=5"]), run, None)
    assert begun == describe_resumption(load_config(tmp_path / "cats.yaml"), run, None)
    assert begun == describe_resumption(load_config(run.config), run, EarlierRun(begun, None))
    (tmp_path / "cats.yaml").write_text("data: {train: .}\ntraining: {epochs: 3}\n")
    assert begun != describe_resumption(load_config(tmp_path / "cats.yaml"), run, EarlierRun(begun, None))
