"""What a resumed run takes over from `run.json`."""

from __future__ import annotations

import pytest

from imgtrain.training.checkpoint_store import Checkpoint
from imgtrain.training.resume import EarlierRun, describe_resumption


@pytest.mark.parametrize("checkpoint", [None, Checkpoint({}, {}, {})])
def test_the_plan_for_a_time_budget_survives_each_resumption(checkpoint):
    facts = {"started": "2026-01-01T00:00:00+00:00", "planned": {"minutes": 3, "epochs": 40}}
    for times in (1, 2):
        facts = describe_resumption(EarlierRun(facts, checkpoint))
        assert facts["planned"] == {"minutes": 3, "epochs": 40}
        assert len(facts.get("resumed", [])) == (0 if checkpoint is None else times)


def test_a_new_run_takes_over_nothing():
    assert describe_resumption(None) == {}
