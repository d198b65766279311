"""Numbers of patients: measured only where masks allow it, refused where no patient has them, capped where rare."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import datasets
import numpy as np
import pytest

from cmrsynth.data import acdc, mnms
from cmrsynth.data.build import build_dataset
from cmrsynth.data.loading import load_slices, load_split, to_slices
from cmrsynth.data.phantom_source import patients
from cmrsynth.data.scalars import body_mass_index, publishable, read_scalars, with_measured_scalars
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO
from cmrsynth.schema import SCALARS, features


def _module(name: str):
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


raw, studies = _module("raw_fixtures"), _module("studies")


def squares(**changes: object) -> Study:
    """Four slices: a cavity of 8x8 pixels at ED and 4x8 at ES, in a ring of 12x12; an EF of 50 % by construction."""
    volumes = []
    for phase, frame, rows in (("ED", 0, 8), ("ES", 5, 4)):
        mask = np.zeros((4, 16, 16), np.uint8)
        mask[:, 2:14, 2:14] = MYO
        mask[:, 4 : 4 + rows, 4:12] = LV
        image = np.random.default_rng(frame).uniform(0, 100, mask.shape).astype(np.float32)
        volumes.append(Volume(image, mask, np.ones(4, bool), phase, frame, np.arange(4)))
    study = Study("p", tuple(volumes), (2.0, 2.0), 8.0, (LV, MYO), "toy", "toy", whole_stacks=True)
    return replace(study, **changes)


def gap(study: Study) -> Study:
    return replace(study, volumes=tuple(replace(v, slice_indices=np.array([0, 1, 3, 4])) for v in study.volumes))


def test_ejection_fraction_and_wall_thickness_are_those_of_the_masks() -> None:
    found = with_measured_scalars(squares())
    assert found.scalars["ejection_fraction"] == pytest.approx(50)
    expected = 2 * (np.sqrt(144 / np.pi) - np.sqrt(64 / np.pi))  # mm, of circles with the areas of the squares
    assert found.scalars["wall_thickness"] == pytest.approx(expected)
    assert found.measured_scalars == ("ejection_fraction", "wall_thickness")


@pytest.mark.parametrize(
    ("spoilt", "known"),
    [
        (lambda s: replace(s, whole_stacks=False), set()),
        (lambda s: replace(s, slice_spacing=None), {"wall_thickness"}),
        (lambda s: replace(s, annotated_labels=(LV,)), {"ejection_fraction"}),
        (lambda s: replace(s, volumes=s.volumes[:1]), {"wall_thickness"}),
        (lambda s: replace(s, volumes=s.volumes[::-1]), {"ejection_fraction", "wall_thickness"}),
        (lambda s: replace(s, volumes=(*s.volumes, replace(s.volumes[0], frame=9))), set()),  # which ED?
        (gap, {"wall_thickness"}),
        (lambda s: studies.with_masks(s, lambda m: np.where(m == MYO, 0, m)), {"ejection_fraction"}),
    ],
)
def test_what_the_masks_do_not_show_stays_unknown(spoilt, known: set[str]) -> None:
    assert set(with_measured_scalars(spoilt(squares())).scalars) == known


def test_a_heart_that_swells_as_it_contracts_has_no_ejection_fraction() -> None:
    diastole, systole = squares().volumes
    swapped = squares(volumes=(replace(diastole, phase="ES"), replace(systole, phase="ED")))
    assert "ejection_fraction" not in with_measured_scalars(swapped).scalars


def test_what_the_source_states_is_kept() -> None:
    found = with_measured_scalars(squares(scalars={"ejection_fraction": 33.0}))
    assert found.scalars["ejection_fraction"] == 33.0
    assert found.measured_scalars == ("wall_thickness",)


def test_masks_of_the_phantom_measure_what_its_anatomy_has() -> None:
    """Two ways to the same numbers: integrals over analytic outlines, and sums over drawn masks."""
    differences = []
    for study in (entry.load() for entry in patients(num_patients=5, vendors=("A",), size=64)):
        found = with_measured_scalars(replace(study, scalars={})).scalars
        differences.append([found[name] - study.scalars[name] for name in ("ejection_fraction", "wall_thickness")])
    by_ejection, by_thickness = np.abs(differences).T
    assert by_ejection.mean() < 5  # a stack of 8 mm slices gains or loses one at the base
    assert by_ejection.max() < 9
    assert by_thickness.max() < 0.8


def test_acdc_and_mnms_state_body_mass_and_age(tmp_path: Path) -> None:
    study = acdc.patients(raw.write_acdc(tmp_path / "acdc"))[0].load()
    assert study.scalars == {"bmi": pytest.approx(95 / 1.84**2)}
    study = mnms.patients(raw.write_mnms(tmp_path / "mnms"))[0].load()
    assert study.scalars == {"age": 50.0, "bmi": pytest.approx(70 / 1.7**2)}


def test_what_no_patient_has_is_refused_and_what_is_left_open_is_unknown() -> None:
    assert read_scalars({"age": "", "bmi": "nan", "ejection_fraction": "55"}, "t") == {"ejection_fraction": 55.0}
    with pytest.raises(InputError, match="ejection_fraction is 550 %, expected 0 to 100"):
        read_scalars({"ejection_fraction": "550"}, "t")
    with pytest.raises(InputError, match="age is 'old'"):
        read_scalars({"age": "old"}, "t")
    with pytest.raises(InputError, match="bmi is"):  # a height in metres
        body_mass_index("1.84", "95.2", "t")
    with pytest.raises(InputError, match="unknown scalars"):
        squares(scalars={"shoe_size": 42.0})


@pytest.mark.parametrize(("age", "written"), [(63.9, 63.0), (89.9, 89.0), (90.0, 90.0), (103.0, 90.0)])
def test_ages_above_89_are_not_told_apart(age: float, written: float) -> None:
    assert publishable({"age": age})["age"] == written


def test_a_built_set_says_what_was_stated_and_what_was_measured(tmp_path: Path) -> None:
    old = replace(squares(), patient_id="old", scalars={"age": 97.4})
    young = studies.beating_study("young")
    entries = [PatientEntry(s.patient_id, lambda s=s: s) for s in (old, young)]
    toy = studies.SOURCE
    steps = [_scale]
    folder = build_dataset(
        entries, steps, splits={"train": ["old"], "test": ["young"]}, source=toy, output=tmp_path / "d"
    )
    record = json.loads((folder / "build.json").read_text())
    assert record["scalars"]["age"] == {"stated": 1, "measured": 0, "unknown": 1}
    assert record["scalars"]["ejection_fraction"] == {"stated": 0, "measured": 1, "unknown": 1}
    assert load_slices(folder, "train").age.tolist() == [90.0] * 8
    assert load_slices(folder, "train").ejection_fraction == pytest.approx([50.0] * 8)
    assert np.isnan(load_slices(folder, "test").ejection_fraction).all()
    assert not any("97.4" in (folder / name).read_text() for name in ("build.json", "README.md"))


def _scale(study: Study) -> Study:
    return studies.with_images(study, lambda image: image / max(image.max(), 1))


_scale.describe = lambda: {"step": "scale"}


def test_sets_from_before_these_columns_load_as_they_did(toy_data) -> None:
    """Their fingerprint is the one they had: a training that began on one continues."""
    rows = [{k: v for k, v in toy_data.toy_row(0, index).items() if k not in SCALARS} for index in range(2)]
    old_features = {name: kind for name, kind in features().items() if name not in SCALARS}
    old = datasets.Dataset.from_list(rows, features=datasets.Features(old_features))
    slices = to_slices(old, "old")
    assert slices.fingerprint == "5e3d83144ff4b4cc"
    assert all(np.isnan(getattr(slices, name)).all() for name in SCALARS)
    assert slices.centre.tolist() == ["1", "1"]
    assert len(slices.select([1]).age) == 1


def test_the_fingerprint_sees_scalars(toy_folder: Path) -> None:
    rows = load_split(toy_folder, "test")
    other = rows.remove_columns("age").add_column("age", [50.0] * len(rows))
    assert to_slices(rows, "a").fingerprint != to_slices(other, "b").fingerprint
