"""The data sources by the name a user types, and what a data-set card says about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrsynth.data import acdc, folder, mnms, sunnybrook
from cmrsynth.data.study import PatientEntry


@dataclass(frozen=True)
class Source:
    """A reader and its provenance.

    Args:
        name: what the user types; also the `source` column.
        patients: `patients(root, **options)` lists the patients, see the reader's module for the options.
        licence: of the raw data, an SPDX-like Hub identifier where there is one.
        citation: the publication to cite.
        homepage: where the data set lives.
        how_to_obtain: what to do to have the raw files.
        description: one paragraph for the card.
    """

    name: str
    patients: Callable[..., list[PatientEntry]]
    licence: str
    citation: str
    homepage: str
    how_to_obtain: str
    description: str


def _phantom_patients(root: Path | None = None, **options: Any) -> list[PatientEntry]:
    from cmrsynth.data import phantom_source

    return phantom_source.patients(root, **options)


_ALL = (
    Source(
        name="phantom",
        patients=_phantom_patients,
        licence="cc0-1.0",
        citation="the cmrsynth software",
        homepage="part of cmrsynth",
        how_to_obtain="nothing to obtain: the phantom is computed from a seed",
        description="Procedural short-axis cine phantom: drawn anatomy, motion and scanner styles, no patient data. "
        "It serves tests and first steps; it is not a substitute for patients.",
    ),
    Source(
        name="acdc",
        patients=acdc.patients,
        licence="cc-by-nc-sa-4.0",
        citation="Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation and "
        "Diagnosis: Is the Problem Solved?, IEEE Transactions on Medical Imaging 37(11), 2018, "
        "doi:10.1109/TMI.2018.2837502",
        homepage="https://www.creatis.insa-lyon.fr/Challenge/acdc/",
        how_to_obtain="register at the homepage, download and unpack; give the folder that holds patient001, ...",
        description="Automated Cardiac Diagnosis Challenge: 150 patients in 5 groups (normal, dilated, hypertrophic, "
        "infarct, abnormal RV), University Hospital of Dijon, Siemens 1.5 T and 3 T; LV cavity, myocardium and RV "
        "cavity at ED and ES.",
    ),
    Source(
        name="mnms",
        patients=mnms.patients,
        licence="M&Ms terms of use",
        citation="Campello et al., Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation: The M&Ms "
        "Challenge, IEEE Transactions on Medical Imaging 40(12), 2021, doi:10.1109/TMI.2021.3090082",
        homepage="https://www.ub.edu/mnms/",
        how_to_obtain="request the data at the homepage, unpack; keep the information CSV in the top folder",
        description="Multi-Centre, Multi-Vendor and Multi-Disease challenge: 6 hospitals in three countries; Siemens, "
        "Philips, GE and Canon scanners; LV cavity, myocardium and RV cavity at ED and ES.",
    ),
    Source(
        name="sunnybrook",
        patients=sunnybrook.patients,
        licence="cc0-1.0",
        citation="Radau, Lu, Connelly, Paul, Dick, Wright, Evaluation framework for algorithms segmenting short axis "
        "cardiac MRI, The MIDAS Journal, 2009, hdl:10380/3070",
        homepage="https://www.cardiacatlas.org/sunnybrook-cardiac-data/",
        how_to_obtain="download DICOM images and contours from the Cardiac Atlas Project and unpack side by side",
        description="Sunnybrook Cardiac Data: 45 patients in four groups (heart failure with and without infarction, "
        "hypertrophy, normal), GE 1.5 T; LV cavity at ED and ES, outer contours at ED only.",
    ),
    Source(
        name="folder",
        patients=folder.patients,
        licence="unknown",
        citation="as the owner of the data asks",
        homepage="not stated",
        how_to_obtain="from the group that built this data set",
        description="A group's own images and masks. Fill in origin, consent and licence before sharing.",
    ),
)
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
