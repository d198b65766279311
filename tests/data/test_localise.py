from __future__ import annotations

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data.localise import (
    CropAroundHeart,
    ImageCentre,
    MaskOracle,
    MotionElseCentre,
    TemporalVariance,
    shows_motion,
)
from cmrsynth.data.localiser_network import HeartNetwork, fit
from cmrsynth.errors import InputError

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)


SUNNYBROOK = Path(__file__).resolve().parents[2] / "../shared/data/sunnybrook"


def one_frame(study):
    return replace(study, volumes=study.volumes[:1], cine=None)


@pytest.mark.parametrize("centre", [(24.0, 30.0), (20.0, 34.0), (29.0, 23.0)])
def test_motion_is_found_where_the_heart_beats(centre):
    found = TemporalVariance().centre(studies.beating_study(centre=centre))
    assert np.hypot(*np.subtract(found, centre)) * 2 < 6  # mm


def test_cine_is_preferred_to_two_frames():
    study = studies.beating_study(centre=(24.0, 20.0))
    moved = studies.beating_study(centre=(24.0, 36.0))
    study = replace(study, cine=np.stack([volume.image for volume in moved.volumes]))
    assert TemporalVariance().centre(study)[1] > 30


@pytest.mark.parametrize("localiser", [TemporalVariance(), MotionElseCentre(), ImageCentre()])
def test_the_mask_is_never_read(localiser):
    study = studies.beating_study()
    expected = localiser.centre(study)
    rng = np.random.default_rng(0)
    for change in (np.zeros_like, lambda mask: rng.permuted(mask, axis=2), lambda mask: 3 - mask):
        assert localiser.centre(studies.with_masks(study, change)) == expected


def test_the_network_never_reads_the_mask():
    network = fit([studies.beating_study()], num_steps=2)
    study = studies.beating_study("bert")
    assert network.centre(study) == network.centre(studies.with_masks(study, np.zeros_like))


def test_the_oracle_does_read_the_mask_and_says_so():
    study = studies.beating_study(centre=(24.0, 30.0))
    assert MaskOracle().centre(study) == pytest.approx((24, 30), abs=0.2)
    shifted = studies.with_masks(study, lambda mask: np.roll(mask, 5, axis=2))
    assert MaskOracle().centre(shifted) == pytest.approx((24, 35), abs=0.2)
    described = CropAroundHeart(32, MaskOracle()).describe()
    assert described["localiser"] == "mask-oracle"
    assert described["warning"] == "oracle crop: uses the test masks; not valid for evaluation"
    with pytest.raises(InputError, match="masks are empty"):
        MaskOracle().centre(studies.with_masks(study, np.zeros_like))


def test_one_frame_shows_no_motion():
    study = one_frame(studies.beating_study())
    assert not shows_motion(study)
    with pytest.raises(InputError, match=r"/raw/anna.nii.gz: one frame only"):
        TemporalVariance().centre(study)
    assert MotionElseCentre().centre(study) == ImageCentre().centre(study) == (23.5, 27.5)


def test_frames_without_a_common_slice_show_no_motion():
    study = studies.beating_study()
    es = replace(study.volumes[1], slice_indices=np.arange(10, 15))
    assert not shows_motion(replace(study, volumes=(study.volumes[0], es)))


def test_a_heart_that_stands_still_is_refused():
    study = studies.beating_study()
    still = replace(study, volumes=(study.volumes[0], replace(study.volumes[0], phase="ES")))
    with pytest.raises(InputError, match="nothing moves"):
        TemporalVariance().centre(still)


def test_brightness_of_frames_exported_one_by_one_does_not_matter():
    study = studies.beating_study()
    bright = replace(study.volumes[1], image=study.volumes[1].image * 2.5)
    expected = TemporalVariance().centre(study)
    found = TemporalVariance().centre(replace(study, volumes=(study.volumes[0], bright)))
    assert np.hypot(*np.subtract(found, expected)) < 1.5


def test_crop_holds_the_whole_heart():
    study = studies.beating_study(centre=(20.0, 38.0))
    cropped = CropAroundHeart(32, TemporalVariance())(study)
    for before, after in zip(study.volumes, cropped.volumes, strict=True):
        assert after.image.shape == (5, 32, 32)
        assert (before.mask > 0).sum() == (after.mask > 0).sum()


def test_network_finds_hearts_off_centre_and_survives_saving():
    rng = np.random.default_rng(0)
    centres = [tuple(32 + rng.uniform(-10, 10, 2)) for _ in range(10)]
    hearts = [
        studies.beating_study(f"p{i}", centre=centre, shape=(64, 64), radii=(10, 9, 8), spacing=(4.0, 4.0))
        for i, centre in enumerate(centres)
    ]
    network = fit(hearts[:6], seed=1, num_steps=60)
    errors = [np.hypot(*np.subtract(network.centre(s), c)) for s, c in zip(hearts[6:], centres[6:], strict=True)]
    middle = [np.hypot(*np.subtract((31.5, 31.5), c)) for c in centres[6:]]
    assert max(errors) < 3 < np.mean(middle)  # pixels
    saved = HeartNetwork.from_bytes(network.to_bytes(), num_patients=6)
    assert saved.centre(hearts[7]) == network.centre(hearts[7])
    assert saved.describe() == network.describe()
    assert network.describe()["training_patients"] == 6


def test_network_is_fitted_the_same_way_twice_and_needs_a_patient():
    one, two, other = (fit([studies.beating_study()], seed=s, num_steps=3).to_bytes() for s in (0, 0, 1))
    assert one == two != other
    with pytest.raises(InputError, match="no training patient"):
        fit([])


@pytest.mark.slow
@pytest.mark.skipif(not SUNNYBROOK.is_dir(), reason="real data are not here")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_real_hearts_lie_inside_the_motion_crop():
    """Share of Sunnybrook slices whose LV mask lies fully inside a 128 mm crop."""
    from cmrsynth.data import sunnybrook_png
    from cmrsynth.data.geometry import ResampleInPlane

    inside = []
    for entry in sunnybrook_png.patients(SUNNYBROOK):
        study = ResampleInPlane(2.0)(entry.load())
        cropped = CropAroundHeart(64, TemporalVariance())(study)
        for before, after in zip(study.volumes, cropped.volumes, strict=True):
            inside += (before.mask.sum(axis=(1, 2)) == after.mask.sum(axis=(1, 2))).tolist()
    assert np.mean(inside) > 0.99
