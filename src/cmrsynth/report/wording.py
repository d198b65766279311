"""The sentences of the report: what a verdict means, and one paragraph that sums an evaluation up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cmrsynth.evaluation.figure import AXES, DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED, VERDICTS, Evaluation, Figure
from cmrsynth.report.numbers import plain_text

QUESTIONS = {
    "fidelity": "Do the images look like real hearts, and do they fit their masks?",
    "utility": "Does a model trained on them work on real patients?",
    "privacy": "Do they give away the patients they were learned from?",
}
MEANING = {
    GOOD: "within what real images of other patients show",
    LOOK: "not clearly within it; a person should look before the images are used",
    DO_NOT_SHARE: "clearly outside it",
    NOT_COMPUTED: "no statement is made",
}
ADVICE = {
    GOOD: "No figure speaks against sharing this set within the limits named below; that is not a proof of anonymity.",
    LOOK: "At least one figure needs a person's judgement before this set is shared.",
    DO_NOT_SHARE: "At least one figure fails: do not share this set as it is.",
    NOT_COMPUTED: "Too little could be computed to say whether this set may be shared.",
}
_SEVERITY = {DO_NOT_SHARE: 0, LOOK: 1, NOT_COMPUTED: 2, GOOD: 3}


def summary(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return one plain paragraph as (emphasised words, sentence) pairs.

    It says what was compared with what, each axis in the words of the figure that decided it (headline figures
    first), and what follows.
    """
    parts = [("", _compared(evaluation.inputs))]
    for axis in AXES:
        verdict = evaluation.verdict[axis]
        own = [f for f in evaluation.figures if f.axis == axis]
        # a figure may be worse than its axis: one encoder alone does not fail it
        deciding = [f for f in own if f.verdict == verdict] or driving_figures(own)
        deciding.sort(key=lambda f: not f.headline)
        reading = _sentence(deciding[0].reading) if deciding else ""
        parts.append((f"{axis.capitalize()}: {verdict}.", reading))
    return [*parts, ("", ADVICE[evaluation.verdict["overall"]])]


def counts_of(figures: list[Figure]) -> str:
    """Return how many figures got each verdict, e.g. "3 good, 1 look closer"."""
    counted = Counter(figure.verdict for figure in figures)
    return ", ".join(f"{counted[verdict]} {verdict}" for verdict in VERDICTS if counted[verdict])


def driving_figures(figures: list[Figure]) -> list[Figure]:
    """Return the figures that keep an axis from "good", the worst first."""
    return sorted((f for f in figures if f.verdict in (DO_NOT_SHARE, LOOK)), key=lambda f: _SEVERITY[f.verdict])


def opens(figures: list[Figure]) -> bool:
    """Return whether a group of figures stands open in the report: it decides something, or heads the page."""
    return any(figure.headline or figure.verdict in (DO_NOT_SHARE, LOOK) for figure in figures)


def better_text(figure: Figure) -> str:
    """Return which direction is good, e.g. "lower is better"."""
    return f"{figure.better.replace('nearer floor', 'nearer the floor')} is better"


def _compared(inputs: dict[str, dict[str, Any]]) -> str:
    synthetic, holdout, train = (inputs.get(role, {}) for role in ("synthetic", "holdout", "train"))
    if "slices" not in synthetic or "slices" not in holdout:
        return ""
    text = f"{plain_text(synthetic['slices'])} synthetic images were compared with {_amount(holdout)} kept for testing"
    text += f", beside {_amount(train)} used for training. " if "slices" in train else ". "
    return text + "Every figure stands next to its floor: the same figure between real images of different patients."


def _amount(data: dict[str, Any]) -> str:
    patients = f" of {plain_text(data['patients'])} patients" if isinstance(data.get("patients"), int) else ""
    return f"{plain_text(data['slices'])} real images{patients}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
