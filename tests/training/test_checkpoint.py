from __future__ import annotations

from pathlib import Path

from cmrsynth.training.checkpoint import latest_checkpoint


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for name, whole in (("checkpoint-00000009", True), ("checkpoint-00000010", True), ("checkpoint-00000011", False)):
        (tmp_path / name).mkdir()
        if whole:
            (tmp_path / name / "state.json").write_text("{}")
    partial = tmp_path / "checkpoint-00000012.partial"
    partial.mkdir()
    (partial / "state.json").write_text("{}")
    assert latest_checkpoint(tmp_path).name == "checkpoint-00000010"
