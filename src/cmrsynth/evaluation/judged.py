"""A `Figure` from what was measured and how it was judged: the one place where figures are put together."""

from __future__ import annotations

from typing import Any

from cmrsynth.evaluation.figure import NOT_COMPUTED, Figure
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.verdict import Judgement


def judged(
    axis: str,
    name: str,
    title: str,
    measured: Measured,
    judgement: Judgement,
    reading: str,
    *,
    n: dict[str, int],
    made_with: str,
    unit: str = "",
    better: str = "lower",
    headline: bool = False,
    details: dict[str, Any] | None = None,
    planted: float | None = None,
    planted_as: str = "",
) -> Figure:
    """Return the figure; the arguments are those of `Figure`, the numbers in `measured`, the verdict in `judgement`."""
    return Figure(
        axis=axis,
        name=name,
        title=title,
        value=measured.value,
        interval=measured.interval,
        floor=measured.floor,
        floor_interval=measured.floor_interval,
        unit=unit,
        better=better,
        n=n,
        made_with=made_with,
        verdict=judgement.verdict,
        reading=reading,
        rule=judgement.rule,
        headline=headline,
        details=details or {},
        planted=planted,
        planted_as=planted_as,
    )


def not_computed(
    axis: str, name: str, title: str, why: str, n: dict[str, int], made_with: str, *, unit: str = ""
) -> Figure:
    """Return a figure without a value; `why` says in a sentence what was missing."""
    nothing, verdict = Measured(None, None, None, None), Judgement(NOT_COMPUTED, "not computed figures do not count")
    return judged(axis, name, title, nothing, verdict, why, n=n, made_with=made_with, unit=unit)
