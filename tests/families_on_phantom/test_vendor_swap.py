"""The masks of one vendor in the look of another, by the GAN and by the flow, as `cmrsynth swap` shows it.

The thresholds are goals that no run has confirmed. With 4 Euler steps (not the 10 Heun steps used here) the flow kept
its masks, Dice 0.91 where real slices get 0.88, but was taken for the vendor asked for in .25, .24, .34 and .98 of its
images for A to D, where real ones are in .75, .94, .35 and .75.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cmrsynth.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(("name", "styles"), [("gan", {"attribute", "reference image"}), ("flow", {"attribute"})])
def test_the_look_is_the_other_vendors_and_the_anatomy_the_masks(
    name: str, styles: set[str], phantom: Path, trained, tmp_path: Path
) -> None:
    arguments = ["--pipeline", str(trained(name)), "--train", str(phantom), "--holdout", str(phantom)]
    arguments += ["--output", str(tmp_path), "--segmenter-updates", "400", "--bootstrap", "200"]
    assert CliRunner().invoke(app, ["swap", *arguments], catch_exceptions=False).exit_code == 0
    lines = json.loads((tmp_path / "swap.json").read_text())["lines"]
    assert {line["style"] for line in lines} == styles
    for style in styles:
        figures = [line for line in lines if line["style"] == style]
        mean = {
            key: sum(line[key]["value"] for line in figures) / len(figures)
            for key in ("recognised", "floor", "control", "adherence", "adherence_floor")
        }
        assert mean["recognised"] > 0.6 * mean["floor"], (style, mean)
        assert mean["control"] < 0.5 * mean["recognised"], (style, mean)  # a model that swaps nothing would get this
        assert mean["adherence"] > 0.75 * mean["adherence_floor"], (style, mean)
