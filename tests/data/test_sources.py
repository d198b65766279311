from __future__ import annotations

import dataclasses

import pytest

from cmrsynth.data.sources import SOURCES


def test_names_are_what_the_user_types():
    assert list(SOURCES) == ["phantom", "acdc", "mnms", "sunnybrook", "folder"]
    assert all(name == source.name for name, source in SOURCES.items())


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_every_source_fills_its_card(source):
    for field in dataclasses.fields(source):
        assert getattr(source, field.name), field.name


def test_phantom_needs_no_folder():
    entries = SOURCES["phantom"].patients(None, num_patients=2)
    assert len(entries) == 2
    assert entries[0].load().source == "phantom"


def test_readers_work_through_the_table(tmp_path, raw):
    raw.write_acdc(tmp_path / "acdc", 1)
    raw.write_mnms(tmp_path / "mnms", 1)
    raw.write_sunnybrook(tmp_path / "sunnybrook", 1)
    raw.write_folder(tmp_path / "folder", 1)
    for name, options in (
        ("acdc", {}),
        ("mnms", {}),
        ("sunnybrook", {}),
        ("folder", {"label_map": {1: 1, 2: 2, 3: 3}}),
    ):
        (entry,) = SOURCES[name].patients(tmp_path / name, **options)
        study = entry.load()
        assert (study.source, study.patient_id) == (name, entry.patient_id)
        assert (study.vendor, study.pathology, study.centre) == (entry.vendor, entry.pathology, entry.centre)
