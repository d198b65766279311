"""The maximum mean discrepancy between two feature sets under a Gaussian kernel (the mathematics of CMMD).

No Gaussian is fitted to the features, so unlike the Frechet distance it also sees differences beyond mean and
covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

CMMD_BANDWIDTH = 10.0
CMMD_SCALE = 1000.0
_MEDIAN_ROWS = 1000  # rows that stand for a set when its median distance is taken
_ROWS = 1024  # rows of a kernel matrix held at a time


def cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """Return the CLIP maximum mean discrepancy: 1000 times the biased MMD^2, bandwidth 10, of unit vectors.

    Bandwidth and scale belong to embeddings of CLIP ViT-L/14 at 336 pixels; for other features use `mmd_rbf`. The
    estimate includes the diagonal, as in the reference, so two samples of one distribution are above 0 by about
    (1 - mean kernel) (1 / n + 1 / m) times 1000: compare with a floor of the same sizes.

    Args:
        x: (n, d) float image embeddings, of any length but 0; they are scaled to length 1 here.
        y: (m, d) float.

    Returns:
        The discrepancy, >= 0; 0 for equal sets.

    Raises:
        ValueError: the sets are empty, of other dimensions, not finite, or hold an embedding of length 0.

    Source: Jayasumana et al. 2024, arXiv:2401.09603.

    >>> round(cmmd(np.array([[2.0, 0.0]]), np.array([[-3.0, 0.0]])), 4)
    39.6027
    """
    x, y = _checked(x, y, 1)
    return CMMD_SCALE * mmd_squared(unit_vectors(x), unit_vectors(y), bandwidth=CMMD_BANDWIDTH)


def unit_vectors(embeddings: np.ndarray) -> np.ndarray:
    """Return (n, d) embeddings scaled to length 1.

    Raises:
        ValueError: one has length 0.

    >>> unit_vectors(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if lengths.min() == 0:
        raise ValueError("embeddings: some have length 0 and no direction; check the images and the encoder")
    return embeddings / lengths


def mmd_squared(x: np.ndarray, y: np.ndarray, *, bandwidth: float) -> float:
    """Return the biased MMD^2 (a V-statistic: means over whole kernel matrices) with exp(-r^2 / (2 bandwidth^2)).

    Args:
        x: (n, d) float.
        y: (m, d) float.
        bandwidth: in the features' unit, > 0.

    Returns:
        MMD^2 in [0, 2].

    Source: Gretton et al. 2012, JMLR 13, equation 5.

    >>> round(mmd_squared(np.zeros((3, 2)), np.ones((2, 2)), bandwidth=1.0), 4)
    1.2642
    """
    x, y = _checked(x, y, 1)
    mean = _kernel_mean(bandwidth)
    return max(0.0, mean(x, x) + mean(y, y) - 2 * mean(x, y))


def mmd_rbf(x: np.ndarray, y: np.ndarray, *, bandwidth: float | None = None) -> float:
    """Return the unbiased MMD^2 with a Gaussian kernel whose bandwidth fits the features.

    Args:
        x: (n, d) float, n >= 2.
        y: (m, d) float, m >= 2, the reference.
        bandwidth: None takes `median_bandwidth(y)`. Give one where several values are to be compared.

    Returns:
        MMD^2; its expectation is 0 where both sets come from one distribution, so it may be negative.

    Raises:
        ValueError: the sets have fewer than two rows, other dimensions, or values that are not finite.

    Source: Gretton et al. 2012, JMLR 13, equation 3.

    >>> round(mmd_rbf(np.array([[0.0], [0.0]]), np.array([[3.0], [4.0]]), bandwidth=1.0), 4)
    1.5951
    """
    x, y = _checked(x, y, 2)
    mean = _kernel_mean(median_bandwidth(y) if bandwidth is None else bandwidth)

    def off_diagonal(each: np.ndarray) -> float:
        return (mean(each, each) * len(each) - 1) / (len(each) - 1)  # the diagonal is 1

    return off_diagonal(x) + off_diagonal(y) - 2 * mean(x, y)


def median_bandwidth(reference: np.ndarray) -> float:
    """Return the median distance between different rows of a set: the median heuristic.

    The reference alone decides, so that no synthetic set chooses its own ruler. More than 1000 rows are represented
    by 1000 evenly spaced ones.

    Args:
        reference: (m, d) float, m >= 2.

    Raises:
        ValueError: more than half of the distances are 0.

    Source: Gretton et al. 2012, JMLR 13, section 8.

    >>> median_bandwidth(np.array([[0.0], [1.0], [3.0]]))
    2.0
    """
    from scipy.spatial.distance import pdist

    reference = np.asarray(reference, dtype=np.float64)
    if len(reference) > _MEDIAN_ROWS:
        reference = reference[np.linspace(0, len(reference) - 1, _MEDIAN_ROWS).round().astype(int)]
    median = float(np.median(pdist(reference))) if len(reference) > 1 else 0.0
    if not median > 0:
        raise ValueError("reference: its rows are equal, so they give no bandwidth; give different images")
    return median


class PatientKernel:
    """The Gaussian kernel between two sets, summed over each pair of patients.

    A bootstrap over patients repeats whole patients, and the discrepancy of a resample follows from these sums and
    from how often each patient was drawn: the kernel is computed once, not once per resample.

    Args:
        x: (n, d) float.
        y: (m, d) float.
        groups_x: (n,) the patient of each row of `x`.
        groups_y: (m,) the patient of each row of `y`.
        bandwidth: of the kernel, > 0.

    Raises:
        ValueError: the features are unusable, or there is not one patient per row.

    >>> x, y = np.zeros((3, 2)), np.ones((2, 2))
    >>> kernel = PatientKernel(x, y, np.array(["a", "a", "b"]), np.array(["c", "d"]), bandwidth=1.0)
    >>> round(kernel.mmd_squared(), 4) == round(mmd_squared(x, y, bandwidth=1.0), 4)
    True
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, groups_x: np.ndarray, groups_y: np.ndarray, *, bandwidth: float
    ) -> None:
        x, y = _checked(x, y, 2)
        if np.shape(groups_x) != (len(x),) or np.shape(groups_y) != (len(y),):
            raise ValueError(
                f"groups: expected ({len(x)},) and ({len(y)},), got {np.shape(groups_x)} and {np.shape(groups_y)}; "
                "give the patient of each row"
            )
        self._codes = [np.unique(groups, return_inverse=True)[1] for groups in (groups_x, groups_y)]
        self._sizes = [np.bincount(codes) for codes in self._codes]
        (a, b), kernel = self._codes, _kernel(bandwidth)
        self._within = _block_sums(kernel, x, x, a, a), _block_sums(kernel, y, y, b, b)
        self._between = _block_sums(kernel, x, y, a, b)

    def mmd_squared(
        self, rows_x: np.ndarray | None = None, rows_y: np.ndarray | None = None, *, unbiased: bool = False
    ) -> float:
        """Return MMD^2 of rows made of whole patients, each as often as it was drawn; None takes all rows once.

        Args:
            rows_x: (k,) indices into `x`.
            rows_y: (l,) indices into `y`.
            unbiased: as in `mmd_rbf`, without the diagonal; else as in `mmd_squared`.
        """
        counts = [self._counts(number, rows) for number, rows in enumerate((rows_x, rows_y))]
        totals = [int(drawn @ sizes) for drawn, sizes in zip(counts, self._sizes, strict=True)]
        means = []
        for drawn, total, sums in zip(counts, totals, self._within, strict=True):
            whole = drawn @ sums @ drawn
            means.append((whole - total) / (total * (total - 1)) if unbiased else whole / total**2)
        between = counts[0] @ self._between @ counts[1] / (totals[0] * totals[1])
        return float(means[0] + means[1] - 2 * between)

    def _counts(self, number: int, rows: np.ndarray | None) -> np.ndarray:
        sizes = self._sizes[number]
        if rows is None:
            return np.ones(len(sizes))
        return np.bincount(self._codes[number][rows], minlength=len(sizes)) / sizes


Kernel = Callable[[np.ndarray, np.ndarray], Iterator[tuple[int, np.ndarray]]]


def _kernel(bandwidth: float) -> Kernel:
    """Return a function that yields the kernel matrix of two sets in blocks of rows, with each block's first row."""
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected a positive length, got {bandwidth}")

    def blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        squares = (y * y).sum(1)
        for start in range(0, len(x), _ROWS):
            part = x[start : start + _ROWS]
            distance = (part * part).sum(1)[:, None] + squares - 2 * part @ y.T
            yield start, np.exp(np.maximum(distance, 0) / (-2 * bandwidth**2))

    return blocks


def _kernel_mean(bandwidth: float) -> Callable[[np.ndarray, np.ndarray], float]:
    kernel = _kernel(bandwidth)
    return lambda x, y: sum(float(block.sum()) for _, block in kernel(x, y)) / (len(x) * len(y))


def _block_sums(kernel: Kernel, x: np.ndarray, y: np.ndarray, codes_x: np.ndarray, codes_y: np.ndarray) -> np.ndarray:
    """The kernel summed over the rows of each pair of patients, (patients of x, patients of y)."""
    order = np.argsort(codes_y, kind="stable")
    first = np.searchsorted(codes_y[order], np.arange(codes_y.max() + 1))
    sums = np.zeros((codes_x.max() + 1, len(first)))
    for start, block in kernel(x, y[order]):
        np.add.at(sums, codes_x[start : start + len(block)], np.add.reduceat(block, first, axis=1))
    return sums


def _checked(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"features: expected two sets (n, d) with n >= {least} and one d, got shapes {x.shape} and {y.shape}; "
            "give enough images and encode both with one network"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features: they hold NaN or infinite values; check the images and the encoder")
    return x, y
