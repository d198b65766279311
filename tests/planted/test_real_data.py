"""The catalogue on the phantom and on real cine slices; the latter where a Sunnybrook copy is beside the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cmrsynth.certification.catalogue import CATALOGUE
from cmrsynth.certification.entries import SECONDS
from cmrsynth.certification.ground import data_ground
from cmrsynth.certification.record import told
from cmrsynth.certification.runner import FAULTY, examine

ROOT = Path(__file__).resolve().parents[2]
SUNNYBROOK = ROOT / "../shared/data/sunnybrook"
SPLITS = ("--validation-fraction", "0.3", "--test-fraction", "0.3")
ON_IMAGES = [pytest.param(entry, id=entry.name) for entry in CATALOGUE if entry.on_images and entry.cost == SECONDS]


@pytest.fixture(scope="module", params=["phantom", "sunnybrook"])
def ground(request, tmp_path_factory):
    if request.param == "sunnybrook" and not SUNNYBROOK.exists():
        pytest.skip("no Sunnybrook copy beside the checkout")
    folder = tmp_path_factory.mktemp(request.param)
    source = ("phantom", "--num-patients", "60") if request.param == "phantom" else ("sunnybrook", str(SUNNYBROOK))
    command = [sys.executable, "-m", "cmrsynth.cli", "build", *source, *SPLITS, "--output", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return data_ground(str(folder / "data"), folder, request.param)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("entry", ON_IMAGES)
def test_the_catalogue_holds_on_a_data_set(ground, entry) -> None:
    row = examine(entry, ground)
    assert row.outcome not in FAULTY, told(row)
