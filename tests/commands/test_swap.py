from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cmrsynth.cli import app
from cmrsynth.hub.export import export_pipeline


def test_the_command_writes_a_table_and_a_picture_of_each_vendor(toy_data, tiny_flow, tmp_path: Path) -> None:
    data = toy_data.write_toy_data(tmp_path / "data", patients={"train": range(6), "test": range(8, 12)})
    pipeline = export_pipeline(tiny_flow(widths=(8, 8), vocabularies={"vendor": ["A", "B"]}), tmp_path / "pipeline")
    arguments = ["swap", "--pipeline", str(pipeline), "--train", str(data), "--holdout", str(data)]
    arguments += ["--segmenter-updates", "3", "--bootstrap", "20", "--option", "num_inference_steps=1"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "swap")], catch_exceptions=False)
    assert result.exit_code == 0
    lines = json.loads((tmp_path / "swap" / "swap.json").read_text())["lines"]
    assert [(line["style"], line["target"], line["slices"]) for line in lines] == [
        ("attribute", "A", 12),
        ("attribute", "B", 12),
    ]
    assert 0 <= lines[0]["recognised"]["value"] <= 1
    assert {p.name for p in (tmp_path / "swap" / "figures").iterdir()} == {"attribute_A.png", "attribute_B.png"}
    assert "recognised" in result.output
