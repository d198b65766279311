"""Which of a patient's labelled frames is end-diastole, judged by the size of the cavity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def name_phases(areas: Mapping[tuple[int, int], float]) -> dict[int, str]:
    """Return the phase of each labelled frame of one patient.

    In a slice where both frames are labelled, the frame with the larger cavity gets a vote for end-diastole; the
    majority over slices decides, the summed area breaks a tie. Single slices near the apex do vote the wrong way
    (through-plane motion), so no slice decides alone.

    Args:
        areas: (slice, frame) to the area of the LV cavity, in any unit.

    Returns:
        Frame to "ED", "ES" or "other", in that order. Of more than two labelled frames the two with the most slices
        are ED and ES; one labelled frame alone is "other", because nothing says which phase it is.

    >>> name_phases({(0, 3): 50.0, (0, 9): 80.0, (1, 3): 20.0, (1, 9): 19.0, (2, 3): 40.0, (2, 9): 60.0})
    {9: 'ED', 3: 'ES'}
    """
    counts = Counter(frame for _, frame in areas)
    named = dict.fromkeys(sorted(counts), "other")
    pair = sorted(sorted(counts, key=lambda frame: (-counts[frame], frame))[:2])
    if len(pair) < 2:
        return named
    slices = {z for z, frame in areas if frame == pair[0]} & {z for z, frame in areas if frame == pair[1]}
    if not slices:
        return named
    votes = Counter(max(pair, key=lambda frame: areas[z, frame]) for z in sorted(slices))
    total = {frame: sum(areas[z, frame] for z in slices) for frame in pair}
    diastole = max(pair, key=lambda frame: (votes[frame], total[frame]))
    systole = next(frame for frame in pair if frame != diastole)
    return {diastole: "ED", systole: "ES", **{frame: "other" for frame in named if frame not in pair}}
