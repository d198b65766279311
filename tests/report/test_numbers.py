"""Numbers as a person writes them, and the strip that draws them on one scale."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.report.numbers import floor_text, interval_text, plain_text, value_text
from cmrsynth.report.strip import strip_svg


def figure(value=18.4, interval=(15.1, 23.9), floor=11.2, floor_interval=(8.7, 14.6), unit=""):
    return Figure("fidelity", "f", "A < B", value, interval, floor, floor_interval, unit, "lower", {}, "", GOOD, "", "")


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (18.4, (15.1, 23.9), "18.4"),
        (0.8, (0.75, 0.9), "0.800"),
        (0.05, None, "0.050"),
        (0.00123, None, "0.001"),
        (0.000823, None, "0.000823"),
        (0.0006, (-0.008, 0.009), "0.001"),
        (1234.5, None, "1,234"),
        (3.2e-7, None, "3.20e−07"),
        (-0.012, None, "−0.012"),
        (-0.0001, (-0.5, 0.5), "0.000"),
        (0.0, None, "0"),
        (None, None, "not computed"),
    ],
)
def test_value_text(value, interval, text):
    assert value_text(figure(value, interval)) == text


def test_units_floors_and_scalars():
    assert value_text(figure(4.12, None, unit="mm")) == "4.12 mm"
    assert floor_text(figure(floor=None)) == "none"
    assert interval_text(None) == ""
    assert plain_text(231.71) == "231.7"


def _x(svg: str, pattern: str) -> float:
    return float(re.search(pattern, svg).group(1))


def test_strip_places_value_and_floor_on_one_scale():
    svg = strip_svg(figure(20.0, (10.0, 30.0), 10.0, (10.0, 20.0)))
    low, high = _x(svg, r'line class="value" x1="([\d.]+)"'), _x(svg, r'line class="value" x1="[\d.]+" x2="([\d.]+)"')
    assert _x(svg, r'circle class="floor" cx="([\d.]+)"') == pytest.approx(low, abs=0.1)
    assert _x(svg, r'line class="floor" x1="[\d.]+" x2="([\d.]+)"') == pytest.approx((low + high) / 2, abs=0.1)
    assert "A &lt; B" in svg


def test_strip_scale_starts_at_zero_only_for_wide_spreads():
    assert ">0<" in strip_svg(figure())
    assert ">0<" not in strip_svg(figure(0.91, (0.9, 0.92), 0.93, (0.92, 0.94)))


@pytest.mark.parametrize("value", [0.0, 1e-9, -3.0, 1.0, 5e7])
def test_strip_of_a_single_number_stays_inside(value):
    svg = strip_svg(figure(value, None, None, None))
    xs = [float(x) for x in re.findall(r'x[12]?="([-\d.]+)"', svg)]
    assert all(0 <= x <= 250 for x in xs)
    assert "nan" not in svg


def test_no_value_no_strip():
    assert strip_svg(replace(figure(), value=None)) == ""
