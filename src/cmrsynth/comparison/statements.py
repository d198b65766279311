"""Do few steps reach the texture of many? Answers with their numbers, from the figures of two rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cmrsynth.evaluation.figure import Figure

TEXTURE, TOLD_APART = "sliced_wasserstein_finest", "two_sample_auc"
WORSE_BY, AUC_APART = 0.2, 0.05  # share of the distance, and difference of the AUC, up to which few steps reach many
CLAIMS = ((4, 50), (1, 10))  # of one family
STUDENT_STEPS, TEACHER_STEPS = (1, 2, 4), 50
NUMBERS = {1: "one step", 2: "two steps", 4: "four steps"}

Figures = Mapping[str, Mapping[int, Mapping[str, Figure]]]  # by family, steps and name


@dataclass(frozen=True)
class Statement:
    """Whether few steps of one family reach the texture of many of the same or of another one.

    Args:
        family: that samples in few steps.
        steps: how few.
        of: that samples in many.
        of_steps: how many.
        ratio: of the sliced Wasserstein distances at the finest level, few to many.
        difference: of the two-sample AUCs, few minus many.
        holds: whether both are within bounds.
        like_real: whether the few steps' own distance lies within the 95 % interval of real patients, or below: to
            reach the texture of a blur is no feat.
    """

    family: str
    steps: int
    of: str
    of_steps: int
    ratio: float
    difference: float
    holds: bool
    like_real: bool

    @property
    def outcome(self) -> str:
        """The answer in a few words."""
        return "no" if not self.holds else "yes" if self.like_real else "yes, but not that of real images"

    @property
    def sentence(self) -> str:
        """The statement in words."""
        whose = "" if self.of == self.family else f" of its teacher {self.of}"
        verb = "reaches" if self.steps == 1 else "reach"
        few = NUMBERS.get(self.steps, f"{self.steps} steps")
        outcome = verb if self.holds else f"do{'es' * (self.steps == 1)} not reach"
        return (
            f"{self.family}: {few} {outcome} the texture of {self.of_steps}{whose} (distance {self.ratio:.2f} times as "
            f"large, AUC {self.difference:+.3f}){', but not that of real images' * (self.holds and not self.like_real)}"
        )


def statements_of(
    figures: Figures, teachers: Mapping[str, str], flow_maps: Mapping[str, Sequence[int]] | None = None
) -> Iterator[Statement]:
    """Yield the statements that the figures allow.

    Args:
        figures: by family, steps and name; families that do not sample in steps have none.
        teachers: students and the family each was distilled from.
        flow_maps: students that never learned many steps, and those they learned: they are held against their
            teachers alone.
    """
    flow_maps = flow_maps or {}
    for family, by_steps in figures.items():
        for few, many in () if family in flow_maps else CLAIMS:
            yield from _statement(family, few, family, many, figures)
        if family in teachers:
            for few in flow_maps.get(family, STUDENT_STEPS):
                yield from _statement(family, few, teachers[family], TEACHER_STEPS, figures) if few in by_steps else ()


def _statement(family: str, few: int, of: str, many: int, figures: Figures) -> Iterator[Statement]:
    rows = figures[family].get(few), figures.get(of, {}).get(many)
    if None in rows:
        return
    values = [[row[name].value if name in row else None for row in rows] for name in (TEXTURE, TOLD_APART)]
    if any(value is None for pair in values for value in pair) or not values[0][1]:
        return
    ratio, difference = values[0][0] / values[0][1], values[1][0] - values[1][1]
    holds = ratio <= 1 + WORSE_BY and difference <= AUC_APART
    floor = rows[0][TEXTURE].floor_interval
    like_real = floor is None or values[0][0] <= floor[1]
    yield Statement(family, few, of, many, ratio, difference, holds, like_real)
