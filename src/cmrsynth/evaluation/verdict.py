"""From numbers to words: the rules behind good, look closer and do not share.

Every rule compares a figure with what real images of other patients get, never with a number from another paper.
The factors were chosen so that real held-out images pass all of them and the planted failures of
`tests/planted` (copies, shuffled masks, blur, one repeated image) do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cmrsynth.evaluation.figure import AXES, DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED, Figure
from cmrsynth.evaluation.floors import Interval, Measured

NEAR, FAR = 1.5, 4.0  # distances, in units of the upper end of the floor
CROWDED = 2.0  # density, in units of the upper end of the floor
KEPT, LOST = 0.7, 0.35  # scores, as a share of the floor
DICE_CLOSE, DICE_APART = 0.05, 0.15
NO_LOSS = 0.01  # Dice; less does not matter to anyone, however certain it is
NULL_RATE = 0.05
STRONG_LEAK = 0.8  # AUC of an attack that a study must have been able to see, to call a generator quiet
SEVERITY = {NOT_COMPUTED: -1, GOOD: 0, LOOK: 1, DO_NOT_SHARE: 2}

VERDICT_RULE = (
    "Each axis takes the worst verdict among its computed figures, and the whole takes the worst axis. One exception: "
    "figures that rest on a feature encoder say 'do not share' for the fidelity axis only if a figure that does not "
    "(texture, adherence, anatomy) or another encoder also finds fault; alone they say 'look closer'. "
    "Figures that could not be computed are left out; an axis without any is 'not computed'."
)


@dataclass(frozen=True)
class Judgement:
    """A verdict and the rule, in words, that gave it."""

    verdict: str
    rule: str


def judge_distance(measured: Measured, *, near: float = NEAR, far: float = FAR) -> Judgement:
    """Judge a distance whose floor is what real patients get: smaller is better.

    >>> judge_distance(Measured(2.9, (2.5, 3.5), 1.0, (0.8, 2.0))).verdict
    'good'
    """
    top = max(measured.floor_interval[1] if measured.floor_interval else measured.floor or 0.0, measured.floor or 0.0)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good up to {near:g} times the upper end of the real-versus-real interval ({near * top:.4g}), "
        f"do not share above {far:g} times ({far * top:.4g}) if the interval stays above the first bound"
    )
    if measured.value <= near * top:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > far * top and low > near * top else LOOK, rule)


def judge_score(measured: Measured) -> Judgement:
    """Judge a share (precision, recall, ...) that should reach what real patients reach: larger is better.

    >>> judge_score(Measured(0.1, (0.0, 0.2), 0.8, (0.7, 0.9))).verdict
    'do not share'
    """
    floor = measured.floor or 0.0
    bottom = min(floor, measured.floor_interval[0]) if measured.floor_interval else floor
    rule = (
        f"good from {KEPT:g} times the lower end of the real-versus-real interval ({KEPT * bottom:.3f}), "
        f"do not share below {LOST:g} times ({LOST * bottom:.3f})"
    )
    if measured.value >= KEPT * bottom:
        return Judgement(GOOD, rule)
    return Judgement(LOOK if measured.value >= LOST * bottom else DO_NOT_SHARE, rule)


def judge_two_sided(measured: Measured) -> Judgement:
    """Judge a figure whose right value is that of real patients: too high is as wrong as too low (density)."""
    low = judge_score(measured)
    top = max(1.0, measured.floor_interval[1] if measured.floor_interval else measured.floor or 0.0)  # 1 is ideal
    rule = (
        f"{low.rule}; above {CROWDED:g} times its upper end ({CROWDED * top:.3f}) look closer: samples crowd together"
    )
    crowded = low.verdict == GOOD and measured.value > CROWDED * top
    return Judgement(LOOK if crowded else low.verdict, rule)


def judge_dice(difference: float, interval: Interval | None) -> Judgement:
    """Judge a difference of Dice to the real reference, whose ideal is 0 or more.

    >>> [judge_dice(d, None).verdict for d in (0.01, -0.04, -0.1, -0.3)]
    ['good', 'good', 'look closer', 'do not share']
    """
    rule = (
        f"good if at most {DICE_CLOSE:g} Dice below real, do not share if more than {DICE_APART:g} below and the "
        f"interval excludes {-DICE_CLOSE:g}"
    )
    if difference >= -DICE_CLOSE:
        return Judgement(GOOD, rule)
    certain = interval is None or interval[1] < -DICE_CLOSE
    return Judgement(DO_NOT_SHARE if difference < -DICE_APART and certain else LOOK, rule)


def judge_gain(difference: float, interval: Interval | None) -> Judgement:
    """Judge what adding synthetic images to real ones does to Dice.

    >>> judge_gain(-0.03, (-0.04, -0.02)).verdict
    'look closer'
    """
    rule = (
        f"good if at most {NO_LOSS:g} Dice are lost or the interval reaches 0; do not share below {-DICE_CLOSE:g} "
        "with an interval below 0"
    )
    high = interval[1] if interval else difference
    if high >= 0 or difference >= -NO_LOSS:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if difference < -DICE_CLOSE else LOOK, rule)


def judge_rate(measured: Measured, *, copying_confirmed: bool) -> Judgement:
    """Judge the share of synthetic images in the 5 % tail of real patients; mode collapse fills it too.

    Args:
        measured: the share, its floor about 0.05.
        copying_confirmed: more synthetic images lie closer to training than to held-out patients, or some are
            nearly identical to a training image; collapse alone does neither.
    """
    top = max(0.10, measured.floor_interval[1] if measured.floor_interval else 0.0)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"expected {NULL_RATE:g}; good up to {top:.2f} or if the interval reaches {NULL_RATE:g}; do not share above "
        "0.3 if images also lie closer to training than to held-out patients or near copies exist (else it may be "
        "collapse)"
    )
    if measured.value <= top or low <= NULL_RATE:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > 0.3 and copying_confirmed else LOOK, rule)


def judge_near_copies(count: int, interval: Interval) -> Judgement:
    """Judge images nearer to a training image than any two real patients ever are.

    >>> judge_near_copies(0, (0.0, 0.04)).verdict
    'good'
    """
    rule = "good if there is none; do not share if more than 1 % (lower end of the interval); look closer otherwise"
    if count == 0:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if interval[0] > 0.01 else LOOK, rule)


def judge_closeness(measured: Measured, *, copied: float = 1.0) -> Judgement:
    """Judge the share of synthetic images closer to training than to held-out patients; 0.5 is chance.

    Args:
        measured: the share, and that of real patients.
        copied: what copies of training images reach: far from 1 where training patients are many more than held-out
            ones, because only as many of them are compared at a time.
    """
    worst = 0.5 + 0.5 * (max(copied, 0.5) - 0.5)
    top = max(0.5, measured.floor_interval[1] if measured.floor_interval else 0.5)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches 0.5 or the share is within the real-versus-real interval (up to {top:.2f}); "
        f"do not share above {worst:.2f}, halfway to what copies reach"
    )
    if low <= 0.5 or measured.value <= top:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > worst else LOOK, rule)


def judge_attack(value: float, interval: Interval | None, *, chance: float = 0.6) -> Judgement:
    """Judge the AUC of a membership attack; 0.5 is chance.

    Args:
        value: the AUC.
        interval: its 95 % interval; without one nothing is excluded, so it is never "good".
        chance: the upper end of the AUCs of shuffled patients.

    With a dozen patients an interval nearly always reaches 0.5, which is not enough for "good": it must also leave out
    a strong leak.

    >>> [judge_attack(v, (v - 0.1, v + 0.1)).verdict for v in (0.55, 0.64, 0.9)]
    ['good', 'look closer', 'do not share']
    >>> [judge_attack(v, interval).verdict for v, interval in ((0.7, (0.4, 0.9)), (0.5, (0.1, 0.9)))]
    ['look closer', 'look closer']
    """
    low, high = interval or (value, 1.0)
    rule = (
        f"good up to 0.6 if the interval reaches 0.5 and ends below {STRONG_LEAK:g}; do not share above 0.7 if it does "
        f"not reach 0.5 and the AUC exceeds those of shuffled patients ({chance:.2f}); look closer otherwise"
    )
    if low <= 0.5:
        return Judgement(GOOD if value <= 0.6 and high < STRONG_LEAK else LOOK, rule)
    return Judgement(DO_NOT_SHARE if value > max(0.7, chance) else LOOK, rule)


def overall(figures: Iterable[Figure]) -> dict[str, str]:
    """Return the verdict of each axis and "overall", by `VERDICT_RULE`."""
    figures = tuple(figures)
    verdicts = {axis: _axis_verdict([f for f in figures if f.axis == axis]) for axis in AXES}
    return {**verdicts, "overall": worst(verdicts.values())}


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst verdict; "not computed" only if nothing was.

    >>> worst(["good", "not computed", "look closer"])
    'look closer'
    """
    return max([NOT_COMPUTED, *verdicts], key=SEVERITY.__getitem__)


def _axis_verdict(figures: list[Figure]) -> str:
    verdict = worst(f.verdict for f in figures)
    failed = {f.details.get("encoder") for f in figures if f.verdict == DO_NOT_SHARE}
    if verdict != DO_NOT_SHARE or None in failed or len(failed) > 1:
        return verdict
    doubted = any(f.verdict in (LOOK, DO_NOT_SHARE) and f.details.get("encoder") not in failed for f in figures)
    return DO_NOT_SHARE if doubted else LOOK
