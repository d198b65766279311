"""How much faster two costly figures are than the ways they are usually computed, measured in one run.

The contestants take turns, so that a busy machine slows all of them alike; the ratio of the medians is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.neighbours import nearest_neighbours
from cmrsynth.timing import in_turns

_DATA = 81  # random stream


@dataclass(frozen=True)
class Size:
    """How large the comparison is.

    Args:
        queries, references, dimensions: of the nearest neighbours.
        features, feature_dimensions: of the Frechet distance.
        naive_queries: queries that the double loop is timed on; its time is scaled up to all of them.
        repeats: turns of each contestant.
    """

    queries: int = 5000
    references: int = 20000
    dimensions: int = 4096
    features: int = 2000
    feature_dimensions: int = 2048
    naive_queries: int = 3
    repeats: int = 3


FULL = Size()
SMALL = Size(queries=200, references=400, dimensions=64, features=120, feature_dimensions=64, naive_queries=5)


@dataclass(frozen=True)
class Speed:
    """One line of the table: what was timed, its median time, and how many times faster ours is."""

    what: str
    seconds: float
    ratio: float

    def as_json(self) -> dict[str, Any]:
        """Return the line as JSON-able values."""
        return {"what": self.what, "seconds": self.seconds, "ratio": self.ratio}


def speed_table(size: Size = FULL, *, seed: int = 0) -> list[Speed]:
    """Return the times of nearest neighbours and of the Frechet distance beside those of the usual ways.

    Raises:
        ArithmeticError: the contestants do not agree, so that their times cannot be compared.
    """
    return [*neighbour_speed(size, seed=seed), *frechet_speed(size, seed=seed)]


def neighbour_speed(size: Size, *, seed: int) -> list[Speed]:
    """Return the times of nearest neighbours: ours, scikit-learn's brute force, and a double loop."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng([seed, _DATA])
    query = rng.normal(size=(size.queries, size.dimensions)).astype(np.float32)
    reference = rng.normal(size=(size.references, size.dimensions)).astype(np.float32)
    group, few = np.arange(size.references), query[: size.naive_queries]
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = nearest_neighbours(query, reference, None, group).distance_1

    def brute() -> None:
        model = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(reference)
        found["brute"] = model.kneighbors(query)[0][:, 0]

    def naive() -> None:
        found["naive"] = np.array([min(np.sqrt(((q - r) ** 2).sum()) for r in reference) for q in few])

    seconds = _medians({"ours": ours, "brute": brute, "naive": naive}, size.repeats)
    seconds["naive"] *= size.queries / len(few)
    _agree(found["ours"], found["brute"], "scikit-learn's nearest neighbours")
    _agree(found["ours"][: len(few)], found["naive"], "the double loop's nearest neighbours")
    task = f"nearest neighbours, {size.queries} of {size.references} in {size.dimensions} dimensions"
    return [
        Speed(f"{task}: cmrsynth", seconds["ours"], 1.0),
        Speed(f"{task}: scikit-learn, brute force", seconds["brute"], seconds["brute"] / seconds["ours"]),
        Speed(
            f"{task}: double loop (timed on {len(few)} queries, scaled)",
            seconds["naive"],
            seconds["naive"] / seconds["ours"],
        ),
    ]


def frechet_speed(size: Size, *, seed: int) -> list[Speed]:
    """Return the times of the Frechet distance: ours, and with SciPy's matrix square root."""
    from scipy.linalg import sqrtm

    rng = np.random.default_rng([seed, _DATA, 1])
    x, y = (rng.normal(size=(size.features, size.feature_dimensions)) + shift for shift in (0.0, 0.1))
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = np.array([frechet_distance(x, y)])

    def usual() -> None:
        covariances = np.cov(x.T), np.cov(y.T)
        root = np.real(sqrtm(covariances[0] @ covariances[1]))
        gap = ((x.mean(0) - y.mean(0)) ** 2).sum()
        found["usual"] = np.array([gap + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root)])

    seconds = _medians({"ours": ours, "usual": usual}, size.repeats)
    _agree(found["ours"], found["usual"], "the Frechet distance by sqrtm")
    task = f"Frechet distance, {size.features} features in {size.feature_dimensions} dimensions"
    return [
        Speed(f"{task}: cmrsynth", seconds["ours"], 1.0),
        Speed(f"{task}: scipy.linalg.sqrtm", seconds["usual"], seconds["usual"] / seconds["ours"]),
    ]


def _medians(contestants: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each contestant, run in turns."""
    return {name: float(np.median(seconds)) for name, seconds in in_turns(contestants, range(repeats)).items()}


def _agree(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    if not np.allclose(ours, theirs, rtol=1e-3):
        raise ArithmeticError(f"{what}: differs from ours by up to {np.abs(ours - theirs).max():.3g}")
