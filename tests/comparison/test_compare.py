"""A comparison of three tiny families from the first step to the page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.comparison import sampling
from cmrsynth.comparison.compare import STAGES, compare
from cmrsynth.comparison.plan import read_plan
from cmrsynth.comparison.rows import rows_of
from cmrsynth.comparison.tables import FLOOR, tables_of
from cmrsynth.data.loading import load_split
from cmrsynth.errors import InputError


@pytest.fixture(scope="module")
def compared(write_plan_to, in_this_process, tmp_path_factory):
    """The comparison of the usual plan, what was started, and a function that does it again."""
    plan = read_plan(write_plan_to(tmp_path_factory.mktemp("comparison")))
    in_this_process.started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "TIMED_SECONDS", 0.01)
        comparison = compare(plan, workers=1, start=in_this_process)
        started = list(in_this_process.started)
        yield comparison, started, lambda *stages: compare(plan, stages=stages, workers=1, start=in_this_process)


def files_of(folder: Path) -> dict[str, int]:
    """Return when each file below a folder was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_all_families_get_the_same_masks_and_seeds(compared) -> None:
    plan = compared[0].plan
    for split, expected in (("test", 18), ("train", 36)):
        sets = {
            row.folder(plan): load_split(row.folder(plan), "train")
            for family in plan.families
            for row in rows_of(plan, family)
            if row.masks == split and row.folder(plan).is_dir()
        }
        first, *others = sets.values()
        assert len(first) == expected
        assert len(others) >= 2
        for other in others:
            assert other["seed"] == first["seed"]
            assert other["mask_row"] == first["mask_row"] == list(range(expected))
            assert other["patient_id"] == first["patient_id"]
        labelled = [rows for path, rows in sets.items() if "blind" not in path.parts]
        for rows in labelled:
            np.testing.assert_array_equal(rows["mask"], labelled[0]["mask"])


def test_every_row_has_its_figures_beside_one_floor(compared) -> None:
    comparison, started, _ = compared
    flow, vae, blind = comparison.families
    assert started == ["flow", "vae", "blind"]
    assert [each.row.name for each in flow.by_steps] == ["steps-1", "steps-4"]
    assert [each.speed["evaluations"] for each in flow.by_steps] == [1, 4]
    assert [each.row.name for each in vae.by_steps] == ["once"]
    for each in (*flow.by_steps, *vae.by_steps, *blind.by_steps):
        for name in ("frechet_distance", "sliced_wasserstein_finest", "two_sample_auc"):
            assert each.figures[name].value is not None
            assert each.figures[name].floor == flow.by_steps[0].figures[name].floor  # measured once
            assert each.figures[name].interval is not None
    for family in (flow, vae):
        assert family.by_steps[0].figures["adherence_dice"].floor is not None
        assert family.taught.figures["dice_synthetic"].floor is not None
    for family in comparison.families:
        assert family.taught.figures["near_copies"].value is not None
        assert family.taught.figures["membership_auc"].reading
        assert family.training["images_per_second"] > 0
        assert family.taught.speed["parameters"] >= family.training["trained_parameters"] > 0


def test_what_does_not_apply_says_why_and_holds_no_number(compared) -> None:
    blind = compared[0].families[2]
    figures = {**blind.by_steps[0].figures, **blind.taught.figures}
    for name in ("adherence_dice", "dice_synthetic", "utility_gap"):
        assert figures[name].value is None
        assert figures[name].reading.startswith("Not applicable: the model takes no masks")
    text = (compared[0].plan.output / "comparison.md").read_text()
    assert "not applicable [1]" in text
    assert "[1] Not applicable: the model takes no masks" in text


def test_a_sweep_counts_evaluations_and_tells_who_cannot_be_guided(compared) -> None:
    flow, vae, _ = compared[0].families
    assert [each.row.sweep for each in flow.swept("guidance")] == [("guidance", 1.0), ("guidance", 2.0)]
    assert [each.speed["evaluations"] for each in flow.swept("guidance")] == [2, 4]  # with and without the mask
    assert vae.swept("guidance")[0].why is None
    assert vae.swept("guidance")[1].why == "VaePipeline has no option ['mask_guidance_scale']"
    assert "no option ['mask_guidance_scale']" in (compared[0].plan.output / "comparison.md").read_text()


def test_the_page_needs_nothing_else(compared) -> None:
    comparison = compared[0]
    quality, families, _ = tables_of(comparison)
    assert quality.rows[0][0].text == families.rows[0][0].text == FLOOR
    assert [row[0].text for row in quality.rows[1:]] == ["flow", "flow", "vae", "blind", "blind"]
    page = (comparison.plan.output / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", "")
    record = json.loads((comparison.plan.output / "comparison.json").read_text())
    assert record["provenance"]["seed"] == 0
    assert record["data"]["test"]["patients"] == 3
    assert "shortened" in " ".join(record["notes"]).lower()


def test_done_again_only_the_report_is_written(compared, in_this_process) -> None:
    comparison, _, again = compared
    output = comparison.plan.output
    before = files_of(output)
    in_this_process.started = []
    assert again(*STAGES).families == comparison.families
    assert in_this_process.started == []
    written = {name.partition("/")[0] for name, when in files_of(output).items() if before.get(name) != when}
    assert written == {"figures", "comparison.json", "comparison.md", "comparison.html"}


def test_an_interrupted_comparison_makes_what_is_missing_alone(compared) -> None:
    comparison, _, again = compared
    output = comparison.plan.output
    lost = (output / "samples/flow/steps-4.json", output / "scores/vae/once.json")
    before = files_of(output)
    for path in lost:
        path.unlink()
    again("sample", "score")
    changed = {name for name, when in files_of(output).items() if before.get(name) != when}
    assert {str(path.relative_to(output)) for path in lost} <= changed
    assert not any(name.endswith((".parquet", ".safetensors")) for name in changed)


def test_images_of_another_model_are_not_taken_for_its_own(compared) -> None:
    comparison, _, again = compared
    record = comparison.plan.output / "samples/vae/once.json"
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, "key": {**known["key"], "pipeline_hash": "another"}}))
    parquet = next((comparison.plan.output / "samples/vae/once").rglob("*.parquet"))
    before = parquet.stat().st_mtime_ns
    again("sample")
    assert parquet.stat().st_mtime_ns != before
    assert json.loads(record.read_text())["key"] == known["key"]


def test_what_another_plan_left_is_neither_shown_nor_mixed_in(compared) -> None:
    comparison, _, again = compared
    folder = comparison.plan.output / "samples/vae"
    (folder / "once.json").unlink()  # killed while it sampled with another seed, after a part was written
    begun = json.loads((folder / "once.begun").read_text())
    (folder / "once.begun").write_text(json.dumps({**begun, "seed": 99}))
    (folder / "once.parts").mkdir()
    (folder / "once.parts/generate.json").write_text(json.dumps({"settings": {"seed": 99}}))
    again("sample")
    assert json.loads((folder / "once.json").read_text())["refused"] is None
    assert not (folder / "once.parts").exists()
    known = json.loads((folder / "once.json").read_text())
    (folder / "once.json").write_text(json.dumps({**known, "key": {**known["key"], "seed": 99}}))
    shown = again("report")
    assert next(f for f in shown.families if f.name == "vae").by_steps[0].why == "not sampled yet"
    again("sample")


@pytest.mark.parametrize("stage", ["sample", "score", "report"])
def test_runs_of_other_settings_are_not_taken_for_those_of_an_edited_plan(compared, stage: str) -> None:
    plan = compared[0].plan
    vae = plan.trainings["vae"]
    faster = replace(vae, settings={**vae.settings, "learning_rate": 0.5})
    for other, named in ((replace(vae, minutes=99.0), "max_train_minutes"), (faster, "learning_rate")):
        edited = replace(plan, trainings={**plan.trainings, "vae": other}, equal_minutes=False)
        with pytest.raises(InputError, match=rf"holds a run of other settings.*{named}"):
            compare(edited, stages=(stage,), workers=1)
