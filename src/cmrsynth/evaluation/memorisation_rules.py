"""The rules that turn the figures of `memorisation` into verdicts.

All compare with real patients in the place of the synthetic images. One figure of many leaves that range by chance now
and then, so its interval must also exclude the value of a set without memory before anything is said.
"""

from __future__ import annotations

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.verdict import Judgement

PLAIN_GAP = 20.0  # hundredths of a nat per dimension beyond real patients
COPYING = -3.0  # C_T, in standard errors


def judge_excess(measured: Measured, plain: float) -> Judgement:
    """Judge a contrast of training with held-out patients, against what real patients get.

    That is not always the chance level: an encoder fitted to the training images sees them a little differently.

    Args:
        measured: the contrast, higher being worse.
        plain: the excess above which the images are not to be shared.

    >>> floor = 0.5, (0.4, 0.6)
    >>> [judge_excess(Measured(v, (v - 0.1, v + 0.1), *floor), 0.2).verdict for v in (0.55, 0.65, 0.8)]
    ['good', 'look closer', 'do not share']
    """
    top, worst = measured.floor_interval[1], measured.floor + plain
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches the mean of real patients ({measured.floor:.2f}) or the value is what they "
        f"reach (up to {top:.2f}); do not share above {worst:.2f}; look closer otherwise"
    )
    if low <= measured.floor or measured.value <= top:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > worst else LOOK, rule)


def judge_gap(measured: Measured) -> Judgement:
    """Judge the likelihood gap; below that of real patients means that the samples cling to training images.

    >>> floor = -4.0, (-8.0, 1.0)
    >>> [judge_gap(Measured(v, (v - 3, v + 3), *floor)).verdict for v in (-5.0, -15.0, -90.0)]
    ['good', 'look closer', 'do not share']
    """
    bottom, plain = measured.floor_interval[0], measured.floor_interval[0] - PLAIN_GAP
    high = measured.interval[1] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches the mean of real patients ({measured.floor:.1f}) or the value is what they "
        f"reach (down to {bottom:.1f}); do not share below {plain:.1f}; look closer otherwise"
    )
    if high >= measured.floor or measured.value >= bottom:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value < plain else LOOK, rule)


def judge_authenticity(measured: Measured, *, copying_confirmed: bool) -> Judgement:
    """Judge the share of authentic images; see `judge_rate` for `copying_confirmed`.

    >>> floor = 0.8, (0.7, 0.9)
    >>> [judge_authenticity(Measured(v, (v, v), *floor), copying_confirmed=True).verdict for v in (0.75, 0.6, 0.1)]
    ['good', 'look closer', 'do not share']
    """
    bottom, half = measured.floor_interval[0], measured.floor / 2
    high = measured.interval[1] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches the mean of real patients ({measured.floor:.2f}) or the value is what they "
        f"reach (down to {bottom:.2f}); do not share below half of it ({half:.2f}) if images also lie closer to "
        "training than to held-out patients or near copies exist (else it may be collapse); look closer otherwise"
    )
    if high >= measured.floor or measured.value >= bottom:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value < half and copying_confirmed else LOOK, rule)


def judge_data_copying(measured: Measured, *, copying_confirmed: bool) -> Judgement:
    """Judge C_T; see `judge_rate` for `copying_confirmed`.

    >>> far = Measured(-9.0, None, 0.0, (-1.0, 1.5))
    >>> [judge_data_copying(far, copying_confirmed=confirmed).verdict for confirmed in (False, True)]
    ['look closer', 'do not share']
    """
    bottom = min(COPYING, measured.floor_interval[0])
    rule = (
        f"good from {bottom:.1f} (the lower of {COPYING:g} and the least of real patients); below it do not share if "
        "images also lie closer to training than to held-out patients or near copies exist, else look closer: collapse "
        "lowers it as well"
    )
    if measured.value >= bottom:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if copying_confirmed else LOOK, rule)
