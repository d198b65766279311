"""One evaluated figure, and the evaluation that holds them: what `evaluate` writes and `report` reads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

GOOD, LOOK, DO_NOT_SHARE, NOT_COMPUTED = "good", "look closer", "do not share", "not computed"
VERDICTS = (GOOD, LOOK, DO_NOT_SHARE, NOT_COMPUTED)
AXES = ("fidelity", "utility", "privacy")
FILE_NAME = "evaluation.json"
UTILITY_FILE_NAME = "utility.json"  # of `cmrsynth utility`: the same structure, one axis
AUDIT_FILE_NAME = "audit.json"  # of `cmrsynth audit`: the same
FILE_NAMES = (FILE_NAME, UTILITY_FILE_NAME, AUDIT_FILE_NAME)


@dataclass(frozen=True)
class Figure:
    """A number a reader may rely on, with everything needed to read it.

    Args:
        axis: "fidelity", "utility" or "privacy".
        name: stable snake_case key, unique in an evaluation, e.g. "frechet_distance".
        title: what a person reads, e.g. "Frechet distance (cardiac encoder)".
        value: the figure for the synthetic set; None where it was not computed (`reading` then says why).
        interval: 95 % bootstrap interval over patients, (low, high).
        floor: the same figure for real images of other patients: what a perfect generator would get.
        floor_interval: its 95 % interval.
        unit: "", "mm", "Dice", ...
        better: "lower", "higher" or "nearer floor".
        n: counts that stand behind it, e.g. {"synthetic": 200, "real": 180, "patients": 9}.
        made_with: what made the features (name and weight hash), or the protocol.
        verdict: one of `VERDICTS`.
        reading: one plain-language sentence: what this value means here.
        rule: the rule that turned value and floor into the verdict, in words.
        headline: shown at the top of the report and in the model card.
        details: further JSON-able numbers (per class, per level, ...).
        planted: the same figure for a failure planted on purpose (training images with a little noise, say), where
            one was measured: it shows that the figure would have fired.
        planted_as: what was planted, in a few words.
        group: the heading it stands under in the report.
    """

    axis: str
    name: str
    title: str
    value: float | None
    interval: tuple[float, float] | None
    floor: float | None
    floor_interval: tuple[float, float] | None
    unit: str
    better: str
    n: dict[str, int]
    made_with: str
    verdict: str
    reading: str
    rule: str
    headline: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    planted: float | None = None
    planted_as: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.axis not in AXES or self.verdict not in VERDICTS:
            raise ValueError(f"axis {self.axis!r} or verdict {self.verdict!r} is not one of {AXES}, {VERDICTS}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(
                f"{self.name} is {self.value}; a figure that cannot be computed has value None and says why"
            )


@dataclass(frozen=True)
class Picture:
    """A PNG beside `evaluation.json`, and what it shows. `axis` is one of `AXES` or "overview"."""

    file: str
    axis: str
    title: str
    caption: str


@dataclass(frozen=True)
class Evaluation:
    """Everything one run of `cmrsynth evaluate` found.

    Args:
        figures: all figures.
        verdict: {"fidelity": ..., "utility": ..., "privacy": ..., "overall": ...}, each one of `VERDICTS`.
        verdict_rule: how the figures became the verdict, in words.
        inputs: per role ("train", "holdout", "synthetic"): name, fingerprint, slices, patients.
        models: per network used: name, sha256, parameters, updates.
        pictures: PNG files, relative to the evaluation's folder.
        provenance: command, seed, versions, hardware, seconds.
    """

    figures: tuple[Figure, ...]
    verdict: dict[str, str]
    verdict_rule: str
    inputs: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    pictures: tuple[Picture, ...]
    provenance: dict[str, Any]

    def save(self, folder: Path, file_name: str = FILE_NAME) -> Path:
        """Write the file into `folder`, whole or not at all, and return its path."""
        path = folder / file_name
        partial = path.with_suffix(".json.partial")
        partial.write_text(json.dumps(asdict(self), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    @classmethod
    def load(cls, folder: Path) -> Evaluation:
        """Read `evaluation.json` of a folder, or `utility.json` or `audit.json` where that is what it holds."""
        name = next((name for name in FILE_NAMES if (folder / name).is_file()), FILE_NAME)
        raw = json.loads((folder / name).read_text(encoding="utf-8"))
        pair = lambda values: None if values is None else (values[0], values[1])  # noqa: E731
        figures = tuple(
            Figure(**{**f, "interval": pair(f["interval"]), "floor_interval": pair(f["floor_interval"])})
            for f in raw["figures"]
        )
        pictures = tuple(Picture(**p) for p in raw["pictures"])
        return cls(**{**raw, "figures": figures, "pictures": pictures})

    def figure(self, name: str) -> Figure:
        """Return the figure called `name`; raises KeyError if there is none."""
        return {f.name: f for f in self.figures}[name]
