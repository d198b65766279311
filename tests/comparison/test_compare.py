"""A comparison of three tiny families from the first step to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.comparison.compare import compare
from cmrsynth.comparison.result import Comparison
from cmrsynth.comparison.rows import rows_of
from cmrsynth.comparison.tables import FLOOR, tables_of
from cmrsynth.data.loading import load_split


def files_of(folder: Path) -> dict[str, int]:
    """Return when each file below a folder was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def check_same_masks_and_seeds(plan, comparison: Comparison) -> None:
    for split in ("test", "train"):
        sets = {
            row.folder(plan): load_split(row.folder(plan), "train")
            for family in plan.families
            for row in rows_of(plan, family)
            if row.masks == split and row.folder(plan).is_dir()
        }
        assert len(sets) >= 3
        first, *others = sets.values()
        for other in others:
            assert other["seed"] == first["seed"]
            assert other["mask_row"] == first["mask_row"] == list(range(len(first)))
            assert other["patient_id"] == first["patient_id"]
        labelled = [rows for path, rows in sets.items() if "blind" not in path.parts]
        for rows in labelled:
            np.testing.assert_array_equal(rows["mask"], labelled[0]["mask"])


def check_figures(comparison: Comparison) -> None:
    flow, vae, blind = comparison.families
    assert [each.row.name for each in flow.by_steps] == ["steps-1", "steps-4"]
    assert [each.speed["evaluations"] for each in flow.by_steps] == [1, 4]
    assert [each.row.name for each in vae.by_steps] == ["once"]
    for family in (flow, vae):
        adherence = family.by_steps[0].figures["adherence_dice"]
        assert adherence.value is not None
        assert adherence.floor is not None
        assert family.taught.figures["dice_synthetic"].value is not None
    for name in ("adherence_dice", "dice_synthetic", "utility_gap"):
        figures = {**blind.by_steps[0].figures, **blind.taught.figures}
        assert figures[name].value is None
        assert figures[name].reading.startswith("Not applicable")
    for family in comparison.families:
        assert family.taught.figures["near_copies"].value is not None
        assert family.taught.figures["membership_auc"].reading
        for each in family.by_steps:
            for name in ("frechet_distance", "sliced_wasserstein_finest", "two_sample_auc"):
                assert each.figures[name].floor == flow.by_steps[0].figures[name].floor  # measured once
    assert [s.family for s in comparison.statements] == []  # neither 50 nor 10 steps were sampled


def check_sweep(comparison: Comparison) -> None:
    flow, vae, _ = comparison.families
    assert [each.row.sweep for each in flow.swept("guidance")] == [("guidance", 1.0), ("guidance", 2.0)]
    assert [each.speed["evaluations"] for each in flow.swept("guidance")] == [2, 4]  # with and without the mask
    assert vae.swept("guidance")[0].why is None
    assert "no option ['mask_guidance_scale']" in vae.swept("guidance")[1].why


def test_three_families_from_training_to_the_page(plan, in_this_process) -> None:
    comparison = compare(plan, workers=1, start=in_this_process)
    assert in_this_process.started == ["flow", "vae", "blind"]
    check_same_masks_and_seeds(plan, comparison)
    check_figures(comparison)
    check_sweep(comparison)
    quality, families, sweep = tables_of(comparison)
    assert quality.rows[0][0].text == families.rows[0][0].text == FLOOR
    assert [row[0].text for row in quality.rows[1:]] == ["flow", "flow", "vae", "blind", "blind"]
    text = (plan.output / "comparison.md").read_text()
    assert "takes no masks, so its images have no labels" in text
    assert "no option ['mask_guidance_scale']" in text
    page = (plan.output / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", "")
    record = json.loads((plan.output / "comparison.json").read_text())
    assert record["provenance"]["seed"] == 0
    assert record["data"]["test"]["patients"] == 3
    before = files_of(plan.output)
    again = compare(plan, workers=1, start=in_this_process)
    assert len(in_this_process.started) == 3
    assert replace(again, provenance={}).families == replace(comparison, provenance={}).families
    written = {name for name, when in files_of(plan.output).items() if before.get(name) != when}
    assert {name.partition("/")[0] for name in written} == {
        *("figures", "comparison.json", "comparison.md", "comparison.html"),
    }


def test_a_family_that_fails_is_told_and_stops_no_other(write_plan, in_this_process) -> None:
    from cmrsynth.comparison.plan import read_plan

    tiny = {"program": "rectified_flow", "minutes": 0.001, "attention_levels": [1]}
    trainings = {"good": tiny, "broken": {**tiny, "train_split": "train+nothing"}}
    plan = read_plan(write_plan(trainings=trainings, sweeps=None, sampling={"steps": [1], "utility_steps": 1}))
    with pytest.raises(Exception, match="no split 'nothing'"):
        compare(plan, stages=("train",), workers=1, start=in_this_process)
