"""How a figure is written down, the same in the report and in the model card."""

from __future__ import annotations

import math
from typing import Any

from cmrsynth.evaluation.figure import Figure

SIGNIFICANT_DIGITS = 3
TINY, HUGE = 1e-4, 1e6  # beyond these a power of ten reads better than zeros
USUAL_DECIMALS = 3  # enough for a Dice or a share; only figures below ENOUGH_FOR_THEM get more
ENOUGH_FOR_THEM = 0.001


def value_text(figure: Figure) -> str:
    """Return the value of the synthetic set with its unit, e.g. "0.874 Dice"; "not computed" where there is none."""
    return "not computed" if figure.value is None else _with_unit(figure.value, figure.interval, figure.unit)


def floor_text(figure: Figure) -> str:
    """Return the real-vs-real floor with its unit; "none" where there is none."""
    return "none" if figure.floor is None else _with_unit(figure.floor, figure.floor_interval, figure.unit)


def planted_text(figure: Figure) -> str:
    """Return the value for a failure planted on purpose, with its unit; "–" where none was."""
    return "–" if figure.planted is None else _with_unit(figure.planted, None, figure.unit)


def interval_text(interval: tuple[float, float] | None, value: float | None = None) -> str:
    """Return an interval as "low to high" with as many decimals as its value; empty where there is none.

    >>> interval_text((0.8, 0.9123), 0.86)
    '0.800 to 0.912'
    """
    if interval is None:
        return ""
    decimals = _decimals(*interval, *(() if value is None else (value,)))
    return f"{_number(interval[0], decimals)} to {_number(interval[1], decimals)}"


def plain_text(value: Any) -> str:
    """Return any JSON scalar as a person writes it.

    >>> plain_text(12345), plain_text(0.123456), plain_text(True), plain_text(None)
    ('12,345', '0.1235', 'yes', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def count_text(n: dict[str, int]) -> str:
    """Return the counts behind a figure in words.

    >>> count_text({"synthetic": 1200, "real_patients": 9})
    '1,200 synthetic, 9 real patients'
    """
    return ", ".join(f"{plain_text(count)} {what.replace('_', ' ')}" for what, count in n.items())


def _with_unit(value: float, interval: tuple[float, float] | None, unit: str) -> str:
    number = _number(value, _decimals(value, *(interval or ())))
    return f"{number} {unit}".rstrip()


def _decimals(*numbers: float) -> int | None:
    """Decimals that leave the largest of `numbers` three significant digits; None asks for a power of ten."""
    largest = max(abs(number) for number in numbers)
    if largest == 0:
        return 0
    if not TINY <= largest < HUGE:
        return None
    decimals = max(0, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest)))
    return min(decimals, USUAL_DECIMALS) if largest >= ENOUGH_FOR_THEM else decimals


def _number(value: float, decimals: int | None) -> str:
    text = f"{value:.2e}" if decimals is None else f"{value:,.{decimals}f}"
    negative_zero = text.startswith("-") and not text.strip("-0.,")
    return text[1:] if negative_zero else text.replace("-", "−")
