from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from cmrsynth.data.phantom_anatomy import PATHOLOGIES
from cmrsynth.data.phantom_source import patients
from cmrsynth.data.study import Study
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV

EIGHT_NEIGHBOURS = np.ones((3, 3), int)
# End-diastolic volume in ml and ejection fraction: generous bounds around what is reported for each group.
LV_RANGES = {
    "normal": ((80, 190), (0.52, 0.74)),
    "dilated": ((170, 360), (0.08, 0.40)),
    "hypertrophic": ((55, 140), (0.60, 0.85)),
    "infarct": ((110, 250), (0.25, 0.52)),
    "abnormal_rv": ((70, 180), (0.44, 0.70)),
}


@cache
def _studies(pathology: str, count: int = 3) -> list[Study]:
    return [entry.load() for entry in patients(num_patients=count, pathologies=(pathology,), vendors=("A",))]


def _volume_ml(study: Study, phase: int, label: int) -> float:
    """Return the volume by Simpson's rule over the slices."""
    voxel = study.pixel_spacing[0] * study.pixel_spacing[1] * study.slice_spacing
    return float((study.volumes[phase].mask == label).sum() * voxel / 1000)


def _ejection(study: Study, label: int) -> float:
    return 1 - _volume_ml(study, 1, label) / _volume_ml(study, 0, label)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again = (patients(num_patients=1, seed=3)[0].load() for _ in range(2))
    other = patients(num_patients=1, seed=4)[0].load()
    assert np.array_equal(first.cine, again.cine)
    assert np.array_equal(first.volumes[1].mask, again.volumes[1].mask)
    assert first.cine.shape != other.cine.shape or not np.array_equal(first.cine, other.cine)


def test_more_patients_do_not_change_the_earlier_ones() -> None:
    few, many = patients(num_patients=3), patients(num_patients=9)
    strip = [(e.patient_id, e.vendor, e.pathology, e.centre) for e in few]
    assert strip == [(e.patient_id, e.vendor, e.pathology, e.centre) for e in many[:3]]
    assert np.array_equal(few[2].load().cine, many[2].load().cine)


def test_no_two_patients_are_alike() -> None:
    entries = patients(num_patients=3, vendors=("A",), pathologies=("normal",))
    middle = [study.volumes[0].image[4] for study in (entry.load() for entry in entries)]
    assert all(np.abs(a - b).mean() > 10 for a, b in ((middle[0], middle[1]), (middle[1], middle[2])))


def test_vendors_and_pathologies_take_turns() -> None:
    pairs = [(e.vendor, e.pathology) for e in patients(num_patients=20)]
    assert len(set(pairs)) == 20


def test_the_anatomy_does_not_depend_on_the_vendor() -> None:
    a, b = (patients(num_patients=1, vendors=(v,))[0].load() for v in "AB")
    assert a.slice_spacing == b.slice_spacing
    assert _volume_ml(a, 0, LV) == pytest.approx(_volume_ml(b, 0, LV), rel=0.02)


def test_the_study_says_what_it_is() -> None:
    entry = patients(num_patients=3)[2]
    study = entry.load()
    assert (study.patient_id, study.vendor, study.pathology, study.centre) == (
        entry.patient_id,
        entry.vendor,
        entry.pathology,
        entry.centre,
    )
    assert [v.phase for v in study.volumes] == ["ED", "ES"]
    assert study.field_strength == 3.0
    assert 8 <= study.slice_spacing <= 10
    assert 8 <= len(study.cine) <= 12
    for volume in study.volumes:
        assert np.array_equal(volume.image, study.cine[volume.frame])


@pytest.mark.parametrize("vendor", "ABCD")
def test_voxels_are_finite_and_not_negative(vendor: str) -> None:
    cine = patients(num_patients=1, vendors=(vendor,))[0].load().cine
    assert cine.dtype == np.float32
    assert np.isfinite(cine).all()
    assert (cine >= 0).all()


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_volumes_and_ejection_fractions_are_clinical(pathology: str) -> None:
    (low, high), (weak, strong) = LV_RANGES[pathology]
    for study in _studies(pathology):
        assert low < _volume_ml(study, 0, LV) < high
        assert weak < _ejection(study, LV) < strong
        assert 0.8 < _volume_ml(study, 1, MYO) / _volume_ml(study, 0, MYO) < 1.15


def test_the_abnormal_rv_is_large_and_weak() -> None:
    normal, abnormal = _studies("normal"), _studies("abnormal_rv")
    assert min(_volume_ml(s, 0, RV) for s in abnormal) > max(_volume_ml(s, 0, RV) for s in normal)
    assert max(_ejection(s, RV) for s in abnormal) < min(_ejection(s, RV) for s in normal)


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_every_mid_slice_is_a_ring_around_a_cavity_with_the_rv_beside_it(pathology: str) -> None:
    for study in _studies(pathology):
        for volume in study.volumes:
            count = len(volume.mask)
            for mask in volume.mask[count // 3 : (2 * count) // 3]:
                for label in (LV, MYO, RV):
                    assert ndimage.label(mask == label, EIGHT_NEIGHBOURS)[1] == 1
                around = ndimage.binary_dilation(mask == LV, EIGHT_NEIGHBOURS) & (mask != LV)
                assert (mask[around] == MYO).all()
                assert (ndimage.binary_dilation(mask == RV) & (mask == MYO)).sum() >= 5


def test_the_stack_runs_from_base_to_apex_and_the_rv_ends_first() -> None:
    for study in _studies("normal"):
        areas = (study.volumes[0].mask == LV).sum((1, 2))
        assert areas[:3].min() > areas[-3:].max()
        assert not (study.volumes[0].mask[-1] == RV).any()


def test_the_image_shows_what_the_mask_says() -> None:
    study = _studies("normal")[0]
    for volume in study.volumes:
        middle = len(volume.mask) // 2
        image, mask = volume.image[middle], volume.mask[middle]
        assert image[mask == LV].mean() > 1.6 * image[mask == MYO].mean()
        assert image[mask == RV].mean() > 1.6 * image[mask == MYO].mean()


def test_the_papillary_muscles_are_dark_and_belong_to_the_cavity() -> None:
    study = _studies("normal")[0]
    image, mask = study.volumes[0].image, study.volumes[0].mask
    middle = len(mask) // 2
    inner = ndimage.binary_erosion(mask[middle] == LV, iterations=2)
    dark = image[middle][inner] < 0.65 * np.median(image[middle][inner])
    assert 0.01 < dark.mean() < 0.25


def test_only_the_heart_moves() -> None:
    study = _studies("normal")[0]
    motion = ndimage.gaussian_filter(study.cine.std(0).mean(0), 2)
    heart = ndimage.binary_dilation((study.volumes[0].mask > 0).any(0), iterations=5)
    assert motion[heart].max() > 3 * np.percentile(motion[~heart], 99)


def test_vendors_differ_in_scale_sharpness_and_noise() -> None:
    studies = {v: patients(num_patients=1, vendors=(v,))[0].load() for v in "ABCD"}
    medians = {v: float(np.percentile(s.cine, 95)) for v, s in studies.items()}
    assert sorted(medians, key=medians.get) == ["A", "B", "C", "D"]
    relative = {v: np.quantile(s.cine, 0.03) / np.quantile(s.cine, 0.99) for v, s in studies.items()}
    assert max(relative.values()) > 1.5 * min(relative.values())
    assert len({s.pixel_spacing for s in studies.values()}) == 4


@pytest.mark.parametrize("size", [32, 64, 97])
def test_the_field_of_view_does_not_depend_on_the_size(size: int) -> None:
    study = patients(num_patients=1, size=size)[0].load()
    assert study.cine.shape[-2:] == (size, size)
    assert size * study.pixel_spacing[0] == pytest.approx(
        128 * patients(num_patients=1)[0].load().pixel_spacing[0], rel=1e-6
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vendors": ("A", "Z")}, r"unknown vendors \['Z'\]"),
        ({"vendors": ()}, "no vendors named"),
        ({"pathologies": ("flu",)}, "hypertrophic"),
        ({"num_patients": 0}, "0 patients"),
        ({"size": 16}, "16 pixels"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        patients(**options)


def test_a_study_takes_well_under_a_second() -> None:
    entries = patients(num_patients=4)
    entries[0].load()
    seconds = []
    for entry in entries:
        start = time.process_time()  # of this process alone: a busy machine does not fail it
        entry.load()
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 1.2
