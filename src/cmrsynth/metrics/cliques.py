"""Samples of one mask that are nearly one another's copies: the sign of a stored image.

A model that has stored the image of a mask returns it however the noise falls. Carlini et al. 2023, arXiv:2301.13188,
section 4.2, call an image extracted if 10 of 500 samples of one prompt form a clique; here the prompt is the mask.
"""

from __future__ import annotations

import math

import numpy as np

CLIQUE_SHARE = 10 / 500


def largest_clique(adjacent: np.ndarray) -> int:
    """Return the size of the largest set of items that are all adjacent to one another.

    Args:
        adjacent: (k, k) bool, symmetric; the diagonal is ignored.

    Raises:
        ValueError: the matrix is not square or not symmetric.

    Source: Bron and Kerbosch 1973, algorithm 457, with a pivot.

    >>> pairs = np.array([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]], dtype=bool)
    >>> largest_clique(pairs)
    3
    """
    adjacent = np.array(adjacent, dtype=bool)
    if adjacent.ndim != 2 or (adjacent.shape != adjacent.T.shape) or (adjacent != adjacent.T).any():
        raise ValueError(f"adjacency: shape {adjacent.shape}; give a square, symmetric matrix")
    np.fill_diagonal(adjacent, False)
    neighbours = [set(np.flatnonzero(row).tolist()) for row in adjacent]
    best = 0
    waiting = [(0, set(range(len(neighbours))), set())]
    while waiting:
        size, candidates, excluded = waiting.pop()
        best = max(best, size)
        if size + len(candidates) <= best or not candidates:
            continue
        pivot = max(candidates | excluded, key=lambda v: len(neighbours[v] & candidates))
        for vertex in candidates - neighbours[pivot]:
            waiting.append((size + 1, candidates & neighbours[vertex], excluded & neighbours[vertex]))
            candidates, excluded = candidates - {vertex}, excluded | {vertex}
    return best


def memorised_mask(distance: np.ndarray, threshold: float) -> bool:
    """Return whether enough samples of one mask lie within `threshold` of one another.

    Enough is 2 % of the samples, and at least two.

    Args:
        distance: (k, k) float between the samples of one mask; the larger of both directions counts.
        threshold: below it two samples are nearly identical.

    >>> memorised_mask(np.array([[0.0, 0.1], [0.1, 0.0]]), 0.2), memorised_mask(np.array([[0.0, 0.3], [0.3, 0.0]]), 0.2)
    (True, False)
    """
    distance = np.maximum(distance, distance.T)
    needed = max(2, math.ceil(CLIQUE_SHARE * len(distance)))
    return largest_clique(distance < threshold) >= needed
