"""Exact nearest neighbours among many long vectors, found with a fast product that bounds its own error.

All products of queries and references are formed blockwise in the quickest number format of the machine. The error
of such a product has a bound, so every reference that could be the nearest is known; the distances of those few are
then computed in double precision from the differences themselves. A copy has distance 0, not what rounding leaves of
|q|^2 + |r|^2 - 2 q.r.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_ROWS = 512  # queries at a time
_VALUES = 2**21  # numbers in a block of differences: 16 MB in double precision
_SUM_ROUNDING = 2.0**-24  # products are summed in single precision, in either format
_LARGEST = 1e150  # squares of larger numbers overflow


def two_nearest(
    query: np.ndarray, reference: np.ndarray, query_group: np.ndarray | None, reference_group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest distance, its index, and the nearest distance of another patient than that of the nearest.

    Args:
        query: (n, d) float.
        reference: (m, d) float.
        query_group: (n,) patient of each query, left out of its references; or None.
        reference_group: (m,) patient of each reference.

    Returns:
        (n,) float64, (n,) int, (n,) float64: NaN, -1 and NaN where no reference is left. Ties go to the first row.

    Raises:
        ValueError: lengths differ, the reference is empty, or a value is not finite.

    Source: the bound on sums of products is that of Higham 2002, Accuracy and Stability of Numerical Algorithms, 3.1.
    """
    query, reference = np.asarray(query), np.asarray(reference)
    own, groups = _codes(query_group, np.asarray(reference_group))
    scale = _checked_scale(query, reference, own, groups)
    centre = reference.mean(0, dtype=np.float64)  # products of vectors with a common part lose what tells them apart
    points = _Rounded.of(reference, centre, scale)
    first, index, second = np.full(len(query), np.nan), np.full(len(query), -1), np.full(len(query), np.nan)
    for start in range(0, len(query), _ROWS):
        rows = slice(start, start + _ROWS)
        low = _lower_bounds(_Rounded.of(query[rows], centre, scale), points)
        if own is not None:
            low[own[rows, None] == groups] = np.inf
        first[rows], index[rows] = _closest(query[rows], reference, low, scale)
        low[groups[index[rows], None] == groups] = np.inf
        second[rows], _ = _closest(query[rows], reference, low, scale)
    return first, index, np.where(index < 0, np.nan, second)


@dataclass(frozen=True)
class _Rounded:
    """Centred and scaled vectors in the product's format, their squared lengths, and what rounding took.

    `loss` is the largest share of a vector's length that rounding changed, measured, not assumed.
    """

    values: torch.Tensor
    squares: np.ndarray
    loss: float

    @classmethod
    def of(cls, points: np.ndarray, centre: np.ndarray, scale: float) -> _Rounded:
        import torch

        values = torch.empty(points.shape, dtype=_format())
        squares, changed = np.empty(len(points)), np.empty(len(points))
        for start in range(0, len(points), _ROWS):
            rows = slice(start, start + _ROWS)
            exact = points[rows] - centre
            exact /= scale
            squares[rows] = np.einsum("nd,nd->n", exact, exact)
            values[rows] = torch.from_numpy(exact)
            exact -= values[rows].double().numpy()
            changed[rows] = np.einsum("nd,nd->n", exact, exact)
        shares = np.sqrt(changed / np.where(squares > 0, squares, 1))
        return cls(values, squares, float(shares.max(initial=0)))


def _format() -> torch.dtype:
    """Return bf16 where the processor has a matrix unit for it (five times the speed), else float32."""
    import torch

    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.bfloat16 if found.get("amx_bf16") else torch.float32


def _lower_bounds(query: _Rounded, points: _Rounded) -> np.ndarray:
    """Return (n, m) float32 that squared distances are never below.

    With l the losses, g the rounding of a sum of d products and u that of its result, the product of two vectors is
    wrong by at most (l_q + l_r + l_q l_r + g) |q| |r| + u |q.r|, and |q| |r| <= (|q|^2 + |r|^2) / 2.
    """
    import torch

    product = (query.values @ points.values.T).float()
    result_rounding = torch.finfo(query.values.dtype).eps / 2
    product = product.add_(product.abs(), alpha=1.01 * result_rounding).numpy()
    sums = (query.values.shape[1] + 8) * _SUM_ROUNDING
    slack = 1.01 * (query.loss + points.loss + query.loss * points.loss + 2 * sums) + 4 * _SUM_ROUNDING
    product *= -2
    product += (points.squares * (1 - slack)).astype(np.float32)
    product += (query.squares * (1 - slack)).astype(np.float32)[:, None]
    return product


def _closest(query: np.ndarray, reference: np.ndarray, low: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least exact distance of each row and its column, given lower bounds on the squares."""
    distance, index = np.full(len(query), np.nan), np.full(len(query), -1)
    guess = low.argmin(1)
    left = np.flatnonzero(np.isfinite(low[np.arange(len(low)), guess]))
    reach = np.full(len(query), -np.inf)
    # 1e-30: what is too small to multiply in single precision
    reach[left] = (_exact(query, reference, left, guess[left]) / scale) ** 2 * (1 + 1e-6) + 1e-30
    rows, columns = np.nonzero(low <= reach.astype(np.float32)[:, None])
    exact = _exact(query, reference, rows, columns)
    order = np.lexsort((columns, exact, rows))
    found, place = np.unique(rows[order], return_index=True)
    distance[found], index[found] = exact[order][place], columns[order][place]
    return distance, index


def _exact(query: np.ndarray, reference: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    found = np.empty(len(rows))
    step = max(1, _VALUES // max(1, query.shape[1]))
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        apart = query[rows[pairs]].astype(np.float64) - reference[columns[pairs]]
        found[pairs] = np.sqrt(np.einsum("nd,nd->n", apart, apart))
    return found


def _codes(query_group: np.ndarray | None, reference_group: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return patients as whole numbers: comparing names pair by pair would cost more than the distances."""
    known, groups = np.unique(reference_group, return_inverse=True)
    if query_group is None or len(known) == 0:
        return None, groups
    query_group = np.asarray(query_group)
    place = np.minimum(np.searchsorted(known, query_group), len(known) - 1)
    return np.where(known[place] == query_group, place, -1), groups


def _checked_scale(query: np.ndarray, reference: np.ndarray, own: np.ndarray | None, groups: np.ndarray) -> float:
    """Return the largest absolute value of both sets; 1 where all are 0."""
    if query.ndim != 2 or reference.ndim != 2 or query.shape[1] != reference.shape[1] or len(reference) == 0:
        raise ValueError(
            f"vectors: shapes {query.shape} and {reference.shape}; give (n, d) and (m, d) with at least one reference"
        )
    if len(groups) != len(reference) or (own is not None and len(own) != len(query)):
        raise ValueError("patients: they do not match the vectors; give one patient per row")
    largest = max(max(float(p.max(initial=0)), -float(p.min(initial=0))) for p in (query, reference))
    if not largest < _LARGEST:
        raise ValueError(f"vectors: values reach {largest}; leave out rows that are NaN, infinite or above {_LARGEST}")
    return largest or 1.0
