from __future__ import annotations

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data.geometry import PadOrCrop, ResampleInPlane
from cmrsynth.data.intensity import MinMax
from cmrsynth.data.preprocessing import SelectFrames, SelectLabelledSlices, apply, slice_levels
from cmrsynth.errors import InputError

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)


def test_frames_are_chosen_by_phase():
    assert [v.phase for v in SelectFrames(("ES",))(studies.beating_study()).volumes] == ["ES"]


def test_missing_phase_and_unknown_phase_are_refused():
    with pytest.raises(InputError, match=r"/raw/anna.nii.gz: no frame of phase other \(found \['ED', 'ES'\]\)"):
        SelectFrames(("other",))(studies.beating_study())
    for phases in (("diastole",), ()):
        with pytest.raises(InputError, match="unknown phases"):
            SelectFrames(phases)


def partly_labelled():
    """Slices: annotated, annotated but empty, not annotated, annotated, annotated."""
    study = studies.with_masks(studies.beating_study(), lambda m: m * np.array([1, 0, 0, 1, 1])[:, None, None])
    labelled = np.array([True, True, False, True, True])
    return replace(study, volumes=tuple(replace(v, labelled=labelled) for v in study.volumes))


@pytest.mark.parametrize(("keep_empty", "kept"), [(False, [0, 3, 4]), (True, [0, 1, 3, 4])])
def test_unlabelled_slices_go_and_the_rest_keeps_its_index(keep_empty, kept):
    study = partly_labelled()
    for before, after in zip(study.volumes, SelectLabelledSlices(keep_empty)(study).volumes, strict=True):
        assert after.slice_indices.tolist() == kept
        np.testing.assert_array_equal(after.image, before.image[kept])
        np.testing.assert_array_equal(after.mask, before.mask[kept])
        assert after.labelled.all()


def test_a_study_without_annotation_is_refused_and_an_empty_frame_goes():
    study = studies.beating_study()
    with pytest.raises(InputError, match="no annotated slice"):
        SelectLabelledSlices()(studies.with_masks(study, np.zeros_like))
    es = replace(study.volumes[1], labelled=np.zeros(5, bool))
    left = SelectLabelledSlices()(replace(study, volumes=(study.volumes[0], es)))
    assert [v.phase for v in left.volumes] == ["ED"]


def test_steps_run_in_order():
    study = apply([ResampleInPlane(1.0), PadOrCrop(64), MinMax()], studies.beating_study())
    assert study.volumes[0].image.shape == (5, 64, 64)
    assert study.volumes[0].image.max() == 1


def test_every_step_describes_itself_in_json():
    import json

    from cmrsynth.data.bias_field import BiasFieldCorrection
    from cmrsynth.data.intensity import ForegroundZScore, PercentileClip
    from cmrsynth.data.localise import CropAroundHeart, ImageCentre

    steps = [SelectFrames(), SelectLabelledSlices(), ResampleInPlane(2.0), PadOrCrop(64), MinMax(), PercentileClip()]
    steps += [ForegroundZScore(), CropAroundHeart(64, ImageCentre()), BiasFieldCorrection()]
    described = [json.loads(json.dumps(step.describe())) for step in steps]
    assert len({step["step"] for step in described}) == len(steps)


@pytest.mark.parametrize(
    ("radii", "levels"),
    [
        ((9, 8, 7, 6, 5, 4), ["basal", "basal", "mid", "mid", "apical", "apical"]),
        ((4, 5, 6, 7, 8, 9), ["apical", "apical", "mid", "mid", "basal", "basal"]),
        ((9, 7, 4), ["basal", "mid", "apical"]),
        ((9, 8, 9, 8.6), ["unknown"] * 4),  # ends within 20 %
        ((9, 5), ["unknown"] * 2),  # too few
    ],
)
def test_level_follows_the_taper_whatever_the_slice_order(radii, levels):
    found = slice_levels(studies.beating_study(radii=radii))
    assert [found[i] for i in range(len(radii))] == levels


def test_level_is_told_by_ed_and_holds_for_slices_that_only_es_has():
    study = studies.beating_study(radii=(9, 8, 7, 6, 5))
    ed = replace(study.volumes[0], mask=study.volumes[0].mask * np.array([1, 1, 1, 1, 0])[:, None, None])
    levels = slice_levels(replace(study, volumes=(ed, study.volumes[1])))
    assert levels == {0: "basal", 1: "basal", 2: "mid", 3: "apical", 4: "apical"}
