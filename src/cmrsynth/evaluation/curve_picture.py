"""The picture of the augmentation curve."""

from __future__ import annotations

from pathlib import Path

from cmrsynth.evaluation.augmentation_curve import Point, point_facts
from cmrsynth.evaluation.pictures import STYLE
from cmrsynth.evaluation.settings import EvaluationSettings

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito 2008
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_curve(points: list[Point], settings: EvaluationSettings, path: Path) -> Path:
    """Draw Dice against the synthetic ratio, one line per real fraction, and return the PNG's path."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        canvas = Canvas(figsize=(6, 4), layout="constrained")
        axes = canvas.subplots()
        fractions = sorted({p.fraction for p in points})
        for index, fraction in enumerate(fractions):
            line = [p for p in points if p.fraction == fraction and p.arm is not None]
            facts = [point_facts(p, points, settings) for p in line]
            # lines side by side, so that their bars do not hide each other
            at = [p.ratio + 0.02 * (index - (len(fractions) - 1) / 2) for p in line]
            dice = [f["dice"] for f in facts]
            bars = [[0.0 if f["low"] is None else abs(f["dice"] - f[end]) for f in facts] for end in ("low", "high")]
            axes.errorbar(
                at,
                dice,
                bars,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                capsize=3,
                label=f"{fraction:.0%} of the real patients ({line[0].patients})",
            )
        axes.set(xlabel="synthetic slices per real slice", ylabel="Dice on held-out patients", title="Augmentation")
        axes.legend()
        canvas.savefig(path, dpi=150, metadata={"Software": None})
    return path
