"""The planted failures on real cine slices; skipped where the Sunnybrook copy is not beside the checkout."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.evaluation.evaluate import evaluate
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD
from cmrsynth.evaluation.settings import EvaluationSettings

ROOT = Path(__file__).resolve().parents[2]
SUNNYBROOK = ROOT / "../shared/data/sunnybrook"
SETTINGS = EvaluationSettings(segmenter_updates=400, resamples=200)


def split(whole: SliceSet) -> tuple[SliceSet, SliceSet, SliceSet]:
    """27 training, 9 held-out and the other patients, shuffled: the file order is by disease."""
    patients = np.random.default_rng(0).permutation(whole.patients)
    third = len(patients) // 5
    parts = patients[2 * third :], patients[:third], patients[third : 2 * third]
    return tuple(whole.select(np.isin(whole.patient_id, part)) for part in parts)


def build(tmp_path: Path, *source: str) -> SliceSet:
    command = [sys.executable, "-m", "cmrsynth.cli", "build", *source, "--output", str(tmp_path / "data")]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    parts = [load_slices(tmp_path / "data", name) for name in ("train", "validation", "test")]
    arrays = {
        k: np.concatenate([getattr(p, k) for p in parts]) for k, v in vars(parts[0]).items() if hasattr(v, "shape")
    }
    return replace(parts[0], **arrays)


@pytest.fixture(scope="module", params=["phantom", "sunnybrook"])
def parts(request, tmp_path_factory):
    if request.param == "sunnybrook" and not SUNNYBROOK.exists():
        pytest.skip("no Sunnybrook copy beside the checkout")
    source = ("phantom", "--num-patients", "45") if request.param == "phantom" else ("sunnybrook", str(SUNNYBROOK))
    return split(build(tmp_path_factory.mktemp(request.param), *source))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_patients_pass_and_planted_failures_do_not(parts, tmp_path):
    train, holdout, third = parts
    rng = np.random.default_rng(0)
    blurred = gaussian_filter(third.images, (0, 2, 2)).astype(np.float32)
    one = {name: np.repeat(getattr(third, name)[:1], len(third), 0) for name in ("images", "masks")}

    def judged(synthetic: SliceSet) -> dict[str, str]:
        return evaluate(train, holdout, synthetic, output=tmp_path, settings=SETTINGS).verdict

    real = judged(third)
    assert DO_NOT_SHARE not in real.values()
    assert real["privacy"] == GOOD
    assert judged(train.select(rng.permutation(len(train))[: len(third)]))["privacy"] == DO_NOT_SHARE
    shuffled = replace(third, masks=third.masks[rng.permutation(len(third))])
    for failure in (shuffled, replace(third, images=blurred), replace(third, **one)):
        assert judged(failure)["fidelity"] == DO_NOT_SHARE
