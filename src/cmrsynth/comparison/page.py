"""A comparison as one self-contained page and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmrsynth.comparison.result import Comparison
from cmrsynth.comparison.tables import FLOOR, Table, tables_of
from cmrsynth.evaluation.figure import Picture
from cmrsynth.report.html import embed, render_page, write_whole

INTRODUCTION = (
    "Every generator family side by side under equal conditions, each figure beside what real images of other "
    "patients get (the floor), with 95 % intervals over patients. Not for diagnosis."
)


def write_pages(comparison: Comparison, pictures: Sequence[Picture]) -> tuple[Path, Path]:
    """Write `comparison.md` and `comparison.html` into the output folder and return their paths."""
    output, tables = comparison.plan.output, tables_of(comparison)
    markdown = write_whole(output / "comparison.md", _markdown(comparison, tables, pictures))
    page = render_page(
        "comparison.html.jinja",
        comparison=comparison,
        introduction=INTRODUCTION,
        tables=tables,
        floor=FLOOR,
        sentences=[statement.sentence for statement in comparison.statements],
        pictures=[{"picture": picture, **embed(output, picture)} for picture in pictures],
    )
    return markdown, write_whole(output / "comparison.html", page)


def _markdown(comparison: Comparison, tables: Sequence[Table], pictures: Sequence[Picture]) -> str:
    notes = "\n".join(f"- {note}" for note in comparison.notes)
    made = comparison.provenance
    data = "; ".join(
        f"{split}: {facts['slices']} slices of {facts['patients']} patients (fingerprint `{facts['fingerprint']}`)"
        for split, facts in comparison.data.items()
    )
    parts = [
        f"# Comparison of generator families\n\n{INTRODUCTION}",
        notes,
        *(f"![{picture.title}]({picture.file})\n\n{picture.caption}" for picture in pictures),
        *(table.as_markdown().rstrip() for table in tables),
        f"## How it was made\n\n`{made['command']}`, seed {made['seed']}, {made['hardware']}, commit {made['git']}.\n"
        f"Data: {data}.",
    ]
    return "\n\n".join(parts) + "\n"
