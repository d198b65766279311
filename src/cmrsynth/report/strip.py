"""A figure as a small drawing: the synthetic value and the real floor on one scale, with their intervals."""

from __future__ import annotations

import math
from html import escape

from cmrsynth.evaluation.figure import Figure
from cmrsynth.report.numbers import floor_text, interval_text, value_text

WIDTH, HEIGHT = 250, 50
MARGIN = 9  # room for half a marker at either end
VALUE_Y, FLOOR_Y, AXIS_Y, TEXT_Y = 9, 23, 33, 45
HALF_LABEL = 16  # half the width of a typical tick label


def strip_svg(figure: Figure) -> str:
    """Return an inline SVG: a diamond for the value, a ring for the floor, bars for the 95 % intervals.

    The scale starts at zero when the numbers spread over more than a factor of two, so that a value twice its
    floor looks twice as far; otherwise it zooms in on the numbers. Empty when there is no value.
    """
    if figure.value is None:
        return ""
    scale = _Scale(figure)
    parts = [f'<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(_sentence(figure))}</title>']
    parts += scale.axis()
    if figure.floor is not None:
        parts += scale.bar(figure.floor_interval, FLOOR_Y, "floor")
        parts.append(f'<circle class="floor" cx="{scale.x(figure.floor):.1f}" cy="{FLOOR_Y}" r="4.2"/>')
    parts += scale.bar(figure.interval, VALUE_Y, "value")
    x = scale.x(figure.value)
    parts.append(
        f'<path class="value" d="M{x - 5.5:.1f} {VALUE_Y}L{x:.1f} {VALUE_Y - 5.5}L{x + 5.5:.1f} {VALUE_Y}'
        f'L{x:.1f} {VALUE_Y + 5.5}Z"/></svg>'
    )
    return "".join(parts)


def _sentence(figure: Figure) -> str:
    text = f"{figure.title}: synthetic {value_text(figure)}"
    if figure.interval:
        text += f" ({interval_text(figure.interval, figure.value)})"
    if figure.floor is not None:
        text += f"; real floor {floor_text(figure)}"
    if figure.floor_interval:
        text += f" ({interval_text(figure.floor_interval, figure.floor)})"
    return text


class _Scale:
    def __init__(self, figure: Figure) -> None:
        single = [number for number in (figure.value, figure.floor) if number is not None]
        numbers = [*single, *(figure.interval or ()), *(figure.floor_interval or ())]
        low, high = min(numbers), max(numbers)
        if low >= 0 and low < high / 2:
            low = 0.0
        if low == high:
            low, high = (low - 1, high + 1) if low == 0 else (low - abs(low) / 2, high + abs(high) / 2)
        self.step = _tick_step(high - low)
        self.low = low if low == 0 else low - (high - low) * 0.05
        self.high = high + (high - low) * 0.05

    def x(self, number: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * (number - self.low) / (self.high - self.low)

    def bar(self, interval: tuple[float, float] | None, y: int, kind: str) -> list[str]:
        if interval is None:
            return []
        return [
            f'<line class="{kind}" x1="{self.x(interval[0]):.1f}" x2="{self.x(interval[1]):.1f}" y1="{y}" y2="{y}"/>'
        ]

    def axis(self) -> list[str]:
        parts = [f'<line class="axis" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{AXIS_Y}" y2="{AXIS_Y}"/>']
        decimals = max(0, -math.floor(math.log10(self.step)))
        for index in range(math.ceil(self.low / self.step), math.floor(self.high / self.step) + 1):
            x = self.x(index * self.step)
            anchor = "start" if x < HALF_LABEL else "end" if x > WIDTH - HALF_LABEL else "middle"
            label = f"{index * self.step:.{decimals}f}".replace("-", "−")
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{AXIS_Y}" y2="{AXIS_Y + 3}"/>')
            parts.append(f'<text x="{x:.1f}" y="{TEXT_Y}" text-anchor="{anchor}">{label}</text>')
        return parts


def _tick_step(span: float) -> float:
    """The smallest of 1, 2, 5 x 10^k that gives at most four steps over `span`."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(step for step in (power / 2, power, 2 * power, 5 * power) if span / step <= 4)
