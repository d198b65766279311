"""What is known about a slice, as a sentence for a text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cmrsynth.schema import UNKNOWN

OPENING = "short-axis cine cardiac MRI"
WORDS = {  # what reads badly as it stands in the column
    "slice_level": {"basal": "basal slice", "mid": "mid-ventricular slice", "apical": "apical slice"},
    "phase": {"ED": "end-diastole", "ES": "end-systole", "other": "between end-diastole and end-systole"},
    "pathology": {
        "normal": "no cardiac disease",
        "dilated": "dilated cardiomyopathy",
        "hypertrophic": "hypertrophic cardiomyopathy",
        "infarct": "myocardial infarction",
        "abnormal_rv": "abnormal right ventricle",
        "hypertensive": "hypertensive heart disease",
        "athlete": "athlete's heart",
        "ischaemic": "ischaemic heart disease",
        "non_compaction": "left ventricular non-compaction",
    },
}
SENTENCES = {  # column to its part of the prompt, in this order
    "slice_level": "{}",
    "phase": "{}",
    "pathology": "{}",
    "vendor": "vendor {} scanner",
    "centre": "centre {}",
    "ejection_fraction": "ejection fraction {:.0f} %",
    "wall_thickness": "wall thickness {:.0f} mm",
    "age": "age {:.0f} years",
    "bmi": "body mass index {:.0f} kg/m2",
}


def prompt_parts(values: Mapping[str, Any]) -> list[str]:
    """Return what a prompt says of a slice, part by part, in a fixed order.

    Args:
        values: column to value; what is None, "unknown" or NaN is left out, and so are other columns.

    >>> prompt_parts({"phase": "ES", "vendor": "A", "pathology": "unknown", "ejection_fraction": 34.6})
    ['end-systole', 'vendor A scanner', 'ejection fraction 35 %']
    """
    parts = []
    for name, sentence in SENTENCES.items():
        value = values.get(name)
        if value is None or value in (UNKNOWN, "") or value != value:
            continue
        words = WORDS.get(name, {}).get(value, value)
        parts.append(sentence.format(words.replace("_", " ") if isinstance(words, str) else words))
    return parts


def compile_prompt(values: Mapping[str, Any]) -> str:
    """Return the prompt of a slice.

    >>> compile_prompt({"slice_level": "mid", "phase": "ED", "pathology": "dilated", "vendor": "A", "age": None})
    'short-axis cine cardiac MRI, mid-ventricular slice, end-diastole, dilated cardiomyopathy, vendor A scanner'
    """
    return ", ".join([OPENING, *prompt_parts(values)])
