"""All levels of a layer in one picture."""

import numpy as np
from conftest import pixels

from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.render.panels import run_panels
from featscope.store.reader import open_run


def test_levels_stand_side_by_side(run, tmp_path):
    opened = open_run(run)
    plan = plan_heat(opened, opened.maps, HeatOptions())
    outcome = run_panels(opened.maps, plan, tmp_path / "panels")
    assert (outcome.pictures, outcome.errors) == (1, [])
    run_jobs(opened.maps, plan, tmp_path / "single")
    panel = pixels(tmp_path / "panels" / "neck.fpn" / "a_levels.png")
    left, right = (pixels(tmp_path / "single" / "neck.fpn" / f"a_level{level}_overlay.png") for level in (0, 1))
    np.testing.assert_array_equal(panel[:, : left.shape[1]], left)
    np.testing.assert_array_equal(panel[:, -right.shape[1] :], right)
    assert run_panels(opened.maps, plan, tmp_path / "panels").skipped == 1


def test_a_damaged_level_costs_itself(run, tmp_path):
    (run / "neck.fpn" / "batch_0_layer_1.npy").write_bytes(b"cut")
    opened = open_run(run)
    outcome = run_panels(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), tmp_path)
    assert outcome.pictures == 1, "the other level is drawn"
    assert len(outcome.errors) == 1
    assert "batch_0_layer_1.npy" in outcome.errors[0]


def test_a_folder_made_by_hand(tmp_path):
    (tmp_path / "maps" / "neck").mkdir(parents=True)
    for level in range(2):
        np.save(tmp_path / "maps" / "neck" / f"batch_0_layer_{level}.npy", np.random.rand(4, 8, 8))
    opened = open_run(tmp_path / "maps")
    outcome = run_panels(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), tmp_path / "out")
    assert outcome.errors == []
    assert (tmp_path / "out" / "neck" / "levels.png").is_file()
