"""The certificate on disk: `certification.json` for programs, `certification.md` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmrsynth.certification.runner import FAULTY, SKIPPED, Reading, Row, totals
from cmrsynth.evaluation.figure import GOOD
from cmrsynth.provenance import portable_path, provenance

JSON_NAME, MARKDOWN_NAME = "certification.json", "certification.md"


def write_record(rows: Sequence[Row], output: Path, speed: Sequence[dict[str, Any]] = ()) -> tuple[Path, Path]:
    """Write both files into `output`, each whole or not at all, and return their paths."""
    output.mkdir(parents=True, exist_ok=True)
    made = provenance()
    content = {
        "totals": totals(rows),
        "rows": [{**row.as_json(), "ground": portable_path(row.ground)} for row in rows],
        "speed": list(speed),
        "provenance": made,
    }
    texts = {
        JSON_NAME: json.dumps(content, indent=2, allow_nan=False) + "\n",
        MARKDOWN_NAME: markdown(rows, speed, made),
    }
    for name, text in texts.items():
        partial = output / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(output / name)
    return output / JSON_NAME, output / MARKDOWN_NAME


def markdown(rows: Sequence[Row], speed: Sequence[dict[str, Any]], made: dict[str, Any]) -> str:
    """Return the certificate as Markdown."""
    counted = ", ".join(f"{count} {outcome}" for outcome, count in totals(rows).items())
    lines = ["# Certification", "", *([f"{counted}.", ""] if rows else [])]
    lines += [f"Made with `{made['command']}` on {made['hardware']}.", ""]
    for kind, title in (("plant", "Planted failures"), ("control", "Controls")):
        own = [row for row in rows if row.kind == kind]
        if own:
            lines += [f"## {title}", "", "| entry | what | on | outcome | figures |", "|---|---|---|---|---|"]
            lines += [f"| {_cells(row)} |" for row in own] + [""]
    if speed:
        lines += ["## Speed", "", "| what | seconds | times faster |", "|---|---|---|"]
        lines += [f"| {e['what']} | {e['seconds']:.3g} | {e['ratio']:.3g} |" for e in speed] + [""]
    return "\n".join(lines)


def shown(reading: Reading) -> str:
    """Return a reading in a few words.

    >>> shown(Reading("recall", ("good",), 0.25, "look closer"))
    'recall 0.25: look closer (expected: good)'
    """
    value = "" if reading.value is None else f" {reading.value:.3g}"
    wish = "" if reading.as_expected else f" (expected: {' or '.join(reading.expected)})"
    return f"{reading.figure}{value}: {reading.verdict}{wish}"


def told(row: Row) -> str:
    """Return what a reader needs of a row: why it was skipped, what went wrong, or what fired."""
    if row.outcome == SKIPPED:
        return row.why
    readings = [*row.fired, *row.quiet]
    if row.outcome in FAULTY:
        readings = [reading for reading in readings if not reading.as_expected]
    elif row.kind == "control":
        good = sum(reading.verdict == GOOD for reading in readings)
        return f"{good} figures good" + (f", {len(readings) - good} not computed" if good < len(readings) else "")
    else:
        readings = list(row.fired)
    return "; ".join(shown(reading) for reading in readings)


def _cells(row: Row) -> str:
    outcome = f"**{row.outcome}**" if row.outcome in FAULTY else row.outcome
    return " | ".join((row.name, row.planted, portable_path(row.ground), outcome, told(row)))
