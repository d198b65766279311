from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import DatasetCard

from cmrsynth.data.card import dataset_card
from cmrsynth.schema import features

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)

RECORD = {
    "source": "toy",
    "seed": 7,
    "split_rule": "validation fraction 0.15",
    "split_digest": "0123456789abcdef",
    "steps": [{"step": "resample_in_plane", "spacing_mm": 2.0, "kernel": "cubic"}, {"step": "min_max"}],
    "warnings": [],
    "notes": [],
    "splits": {
        "train": {"patients": 3, "slices": 1200, "num_bytes": 99, "slices_with_label_at_border": 1},
        "test": {"patients": 1, "slices": 30, "num_bytes": 9, "slices_with_label_at_border": 0},
    },
    "counts": [
        {"split": "train", "vendor": "A", "pathology": "normal", "phase": "ED", "slices": 1200},
        {"split": "test", "vendor": "B", "pathology": "dilated", "phase": "ES", "slices": 30},
    ],
    "annotated_labels": [[1, 2]],
    "scalars": {
        "ejection_fraction": {"stated": 1, "measured": 2, "unknown": 1},
        "wall_thickness": {"stated": 0, "measured": 0, "unknown": 4},
        "age": {"stated": 3, "measured": 0, "unknown": 1},
        "bmi": {"stated": 0, "measured": 0, "unknown": 4},
    },
    "left_out": [],
}


def test_front_matter_is_what_the_hub_reads():
    data = DatasetCard(dataset_card(RECORD, studies.SOURCE)).data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["size_categories"] == ["1K<n<10K"]
    assert "image-segmentation" in data["task_categories"]
    assert data["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*"},
        {"split": "test", "path": "data/test-*"},
    ]
    assert {feature["name"] for feature in data["dataset_info"]["features"]} == set(features())
    assert [split["num_examples"] for split in data["dataset_info"]["splits"]] == [1200, 30]


@pytest.mark.parametrize(
    "fact",
    [
        "`resample_in_plane`: spacing_mm = 2.0, kernel = cubic",
        "Seed 7, digest `0123456789abcdef`",
        "| train | 3 | 1200 | 1 |",
        "| A | normal | ED | 1200 | 0 |",
        "| B | dilated | ES | 0 | 30 |",
        "Annotated here: **lv_cavity, lv_myocardium**",
        "Nobody 2024",
        "| ejection_fraction | % | 1 | 2 | 1 |",
        "Quasi-identifiers: age.",
        "90 stands for 90 and more",
        "run the tests",
        "## Left out\n\nNothing.",
    ],
)
def test_prose_states_the_facts(fact):
    assert fact in dataset_card(RECORD, studies.SOURCE)


def test_numbers_that_single_nobody_out_are_no_quasi_identifiers():
    unknown = {"stated": 0, "measured": 0, "unknown": 4}
    scalars = {**RECORD["scalars"], "age": unknown}
    assert "Quasi-identifiers" not in dataset_card({**RECORD, "scalars": scalars}, studies.SOURCE)


def test_warnings_and_left_out_patients_are_shown():
    left_out = [{"patient_id": "toy-0009", "split": "test", "reason": "the file ends early"}]
    card = dataset_card({**RECORD, "warnings": ["oracle crop"], "left_out": left_out}, studies.SOURCE)
    assert "> **Warning: oracle crop.**" in card
    assert "| toy-0009 | test | the file ends early |" in card


def test_a_licence_the_hub_does_not_know_is_named():
    source = SimpleNamespace(**{**vars(studies.SOURCE), "licence": "M&Ms terms of use"})
    data = DatasetCard(dataset_card(RECORD, source)).data.to_dict()
    assert data["license"] == "other"
    assert data["license_name"] == "m-ms-terms-of-use"
    assert data["license_link"] == "https://example.org/toy"
