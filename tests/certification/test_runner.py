"""The runner must itself notice what it is there to notice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from cmrsynth.certification import catalogue, families
from cmrsynth.certification.catalogue_models import private_training
from cmrsynth.certification.entries import Control, Plant, Sign, refuses
from cmrsynth.certification.families import Observation
from cmrsynth.certification.ground import toy_ground
from cmrsynth.certification.record import write_record
from cmrsynth.certification.runner import (
    DETECTED,
    FALSE_ALARM,
    MISSED,
    PASSED,
    SKIPPED,
    examine,
    jobs,
    judge_entry,
    totals,
)
from cmrsynth.commands.certify import certify
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED

PLANT = Plant("p", "a failure", "privacy", (refuses("loud"),), ("calm",), private_training(clipped=False))
CONTROL = Control("c", "no failure", "privacy", ("calm",), private_training(clipped=True))


def said(**verdicts: str) -> dict[str, Observation]:
    return {name: Observation(0.5, verdict) for name, verdict in verdicts.items()}


@pytest.mark.parametrize(
    ("entry", "verdicts", "outcome"),
    [
        (PLANT, {"loud": DO_NOT_SHARE, "calm": GOOD}, DETECTED),
        (PLANT, {"loud": LOOK, "calm": GOOD}, MISSED),  # "do not share" was asked for
        (PLANT, {"loud": GOOD, "calm": GOOD}, MISSED),
        (PLANT, {"loud": NOT_COMPUTED, "calm": GOOD}, MISSED),
        (PLANT, {"loud": DO_NOT_SHARE, "calm": LOOK}, FALSE_ALARM),
        (PLANT, {"loud": GOOD, "calm": LOOK}, MISSED),
        (PLANT, {"calm": GOOD}, MISSED),
        (replace(PLANT, must_fire=(Sign("loud"),)), {"loud": LOOK, "calm": GOOD}, DETECTED),
        (CONTROL, {"calm": GOOD}, PASSED),
        (CONTROL, {"calm": LOOK}, FALSE_ALARM),
        (CONTROL, {"calm": NOT_COMPUTED}, SKIPPED),  # silence that proves nothing
        (CONTROL, {}, FALSE_ALARM),
    ],
)
def test_outcomes(entry, verdicts, outcome) -> None:
    assert judge_entry(entry, said(**verdicts))[0] == outcome


@pytest.fixture
def ground(tmp_path):
    return toy_ground(tmp_path)


def test_entries_that_bring_their_own_sets_run_once(ground) -> None:
    on_images, own = PLANT, replace(PLANT, on_images=False)
    assert len(jobs([on_images, own], [ground, ground])) == 3


def test_a_ground_that_lacks_what_is_needed_is_skipped_with_a_reason(ground) -> None:
    row = examine(replace(CONTROL, needs=lambda ground: "no two vendors"), ground)
    assert (row.outcome, row.why) == (SKIPPED, "no two vendors")


def test_the_record_holds_every_row(ground, tmp_path) -> None:
    claim = replace(PLANT, must_fire=(refuses("privacy_claim"),), must_stay_quiet=(), on_images=False)
    rows = [examine(claim, ground), examine(replace(CONTROL, must_stay_quiet=("privacy_claim",)), ground)]
    assert totals(rows) == {DETECTED: 1, PASSED: 1, MISSED: 0, FALSE_ALARM: 0, SKIPPED: 0}
    paths = write_record(rows, tmp_path / "record")
    content = json.loads(paths[0].read_text())
    assert [row["outcome"] for row in content["rows"]] == [DETECTED, PASSED]
    assert content["rows"][0]["fired"][0]["verdict"] == DO_NOT_SHARE
    assert "| p | a failure | no images | detected | privacy_claim 2.97: do not share |" in paths[1].read_text()


@pytest.mark.parametrize(("lower_bound", "code"), [(9.0, 0), (0.0, 1)])
def test_the_command_exits_with_1_if_a_failure_was_missed(tmp_path, monkeypatch, lower_bound, code) -> None:
    result = families.audit(private_training(clipped=True)(None).recipe, delta=1e-3, seed=0)
    monkeypatch.setattr(families, "audit", lambda *args, **more: replace(result, lower_bound=lower_bound))
    app = typer.Typer()
    app.command()(certify)
    run = CliRunner().invoke(app, ["--only", "without its clip", "--output", str(tmp_path)])
    assert run.exit_code == code, run.output
    assert len(json.loads((tmp_path / "certification.json").read_text())["rows"]) == 1


def test_names_come_from_the_catalogue() -> None:
    assert {"exact copies", "blur", "memoriser", "one patient on both sides"} <= {e.name for e in catalogue.CATALOGUE}
