"""Running the catalogue: what was detected, what was missed, and where the product cried wolf."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cmrsynth.certification.entries import Entry, Plant
from cmrsynth.certification.families import Observation, Observations, observe
from cmrsynth.certification.ground import Ground
from cmrsynth.evaluation.figure import GOOD, NOT_COMPUTED

DETECTED, PASSED, MISSED, FALSE_ALARM, SKIPPED = "detected", "passed", "missed", "false alarm", "skipped"
OUTCOMES = (DETECTED, PASSED, MISSED, FALSE_ALARM, SKIPPED)
FAULTY = (MISSED, FALSE_ALARM)
NOWHERE = "no images"  # the ground of entries that bring their own sets


@dataclass(frozen=True)
class Reading:
    """What one figure was expected to say, and what it said."""

    figure: str
    expected: tuple[str, ...]
    value: float | None
    verdict: str

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is one of those expected."""
        return self.verdict in self.expected


@dataclass(frozen=True)
class Row:
    """One entry on one ground.

    Args:
        name, kind, axis, planted: of the entry; `kind` is "plant" or "control".
        ground: where it was planted.
        outcome: one of `OUTCOMES`. A plant that is found while another figure wrongly objects is a false alarm.
        fired: the figures that had to find it.
        quiet: the figures that had to stay quiet.
        why: of a skipped entry.
        seconds: it took.
    """

    name: str
    kind: str
    axis: str
    planted: str
    ground: str
    outcome: str
    fired: tuple[Reading, ...]
    quiet: tuple[Reading, ...]
    why: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        return asdict(self)


def judge_entry(entry: Entry, found: Observations) -> tuple[str, tuple[Reading, ...], tuple[Reading, ...]]:
    """Return the outcome, and the readings of the figures that must fire and of those that must not.

    A figure that was to stay quiet and could not be computed (data may know no vendor) accuses nobody and is shown as
    such; where none of them was computed, a control is skipped, for that silence proves nothing.
    """
    absent = Observation(None, "absent")

    def read(figure: str, expected: tuple[str, ...]) -> Reading:
        seen = found.get(figure, absent)
        return Reading(figure, expected, seen.value, seen.verdict)

    fired = tuple(read(sign.figure, sign.verdicts) for sign in entry.must_fire)
    quiet = tuple(read(figure, (GOOD, NOT_COMPUTED)) for figure in entry.must_stay_quiet)
    if not all(reading.as_expected for reading in fired):
        return MISSED, fired, quiet
    if not all(reading.as_expected for reading in quiet):
        return FALSE_ALARM, fired, quiet
    if isinstance(entry, Plant):
        return DETECTED, fired, quiet
    return (PASSED if any(reading.verdict == GOOD for reading in quiet) else SKIPPED), fired, quiet


def examine(entry: Entry, ground: Ground) -> Row:
    """Return what the product says of one entry on one ground."""
    start, why = time.perf_counter(), entry.needs(ground) if entry.on_images else ""
    outcome, fired, quiet = SKIPPED, (), ()
    if not why:
        outcome, fired, quiet = judge_entry(entry, observe(ground, entry.make(ground), entry.figures))
        why = "none of its figures could be computed" if outcome == SKIPPED else ""
    return Row(
        name=entry.name,
        kind="plant" if isinstance(entry, Plant) else "control",
        axis=entry.axis,
        planted=entry.planted,
        ground=ground.name if entry.on_images else NOWHERE,
        outcome=outcome,
        fired=fired,
        quiet=quiet,
        why=why,
        seconds=round(time.perf_counter() - start, 1),
    )


def jobs(entries: Iterable[Entry], grounds: Sequence[Ground]) -> list[tuple[Entry, Ground]]:
    """Return every entry on every ground; entries that bring their own sets once."""
    return [(entry, ground) for entry in entries for ground in (grounds if entry.on_images else grounds[:1])]


def run(
    work: Sequence[tuple[Entry, Ground]], tell: Callable[[Entry, Ground], None] = lambda entry, ground: None
) -> Iterator[Row]:
    """Yield the row of each job; `tell` is called before each."""
    for entry, ground in work:
        tell(entry, ground)
        yield examine(entry, ground)


def totals(rows: Iterable[Row]) -> dict[str, int]:
    """Return how often each outcome occurred.

    >>> totals([])
    {'detected': 0, 'passed': 0, 'missed': 0, 'false alarm': 0, 'skipped': 0}
    """
    counts = Counter(row.outcome for row in rows)
    return {outcome: counts[outcome] for outcome in OUTCOMES}
