"""How different the images of a set are from one another.

A generator that has collapsed can place every image well among the real ones; only their variety shows it. All
figures are to be read beside those of real images at the same counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .paired import ms_ssim

_PAIRS, _SAMPLES = 501, 502  # one stream of random numbers each


def patient_pairs(patient_id: np.ndarray, *, pairs: int, seed: int = 0) -> np.ndarray:
    """Return random pairs of rows of different patients, every pair of patients as often as any other.

    Args:
        patient_id: (N,) the patient of each row.
        pairs: how many pairs; a pair of rows may be drawn twice in small sets.
        seed: the run's seed.

    Returns:
        (pairs, 2) int.

    Raises:
        ValueError: there is only one patient.
    """
    patients, of_row = np.unique(np.asarray(patient_id), return_inverse=True)
    if len(patients) < 2:
        raise ValueError(f"expected images of at least 2 patients, got {len(patients)}: pairs are of different ones")
    rng = np.random.default_rng([seed, _PAIRS])
    first = rng.integers(0, len(patients), pairs)
    second = (first + rng.integers(1, len(patients), pairs)) % len(patients)
    rows = [np.flatnonzero(of_row == number) for number in range(len(patients))]
    draw = lambda of: np.array([rows[p][rng.integers(len(rows[p]))] for p in of])  # noqa: E731
    return np.stack([draw(first), draw(second)], axis=1)


def pairwise_ms_ssim(images: np.ndarray, patient_id: np.ndarray, *, pairs: int = 600, seed: int = 0) -> float:
    """Return the mean MS-SSIM of random pairs of images of different patients: the lower, the more diverse.

    1 if all images are equal. A dozen images repeated over and over are hardly seen here, since only one pair in
    twelve is then of equal images; `vendi_score` sees them.

    Args:
        images: (N, H, W) float in [0, 1].
        patient_id: (N,) the patient (of a synthetic image: of its mask).
        pairs: number of pairs.
        seed: the run's seed.

    Raises:
        ValueError: fewer than two patients, or images smaller than 11 pixels.

    Source: Odena, Olah and Shlens 2017, arXiv:1610.09585, section 4.2.
    """
    first, second = patient_pairs(patient_id, pairs=pairs, seed=seed).T
    return float(ms_ssim(images[first], images[second]).mean())


def vendi_score(kernel: np.ndarray, *, q: float = 1.0, weights: np.ndarray | None = None) -> float:
    """Return the effective number of different items: the exponential of the entropy of the kernel's eigenvalues.

    1 for equal items, n for n items without any likeness. It grows with n: compare sets of one size only.

    Args:
        kernel: (n, n) positive semi-definite similarities with ones on the diagonal.
        q: order of the Renyi entropy; above 1 common items weigh more, below 1 rare ones, `numpy.inf` is the
            largest eigenvalue alone.
        weights: (n,) how much each item counts, such as how often a resample drew it; all alike by default.

    Raises:
        ValueError: the kernel is not square with ones on its diagonal, or q is negative.

    Source: Friedman and Dieng 2023, arXiv:2210.02410; orders: Pasarkar and Dieng 2024, arXiv:2310.12952.

    >>> vendi_score(np.ones((5, 5))), vendi_score(np.eye(5))
    (1.0, 5.0)
    """
    kernel = np.asarray(kernel, dtype=np.float64)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not np.allclose(np.diag(kernel), 1, atol=1e-6):
        raise ValueError(f"expected (n, n) similarities with a diagonal of 1, got shape {kernel.shape}: normalise them")
    if q < 0:
        raise ValueError(f"expected an order of at least 0, got {q}")
    share = np.ones(len(kernel)) if weights is None else np.asarray(weights, dtype=np.float64)
    root = np.sqrt(share / share.sum())
    drawn = root > 0  # items that do not count need no eigenvalue
    values = np.linalg.eigvalsh((root[:, None] * kernel * root)[np.ix_(drawn, drawn)])
    values = values[values > 1e-12]
    if q == 1:
        return float(np.exp(-(values * np.log(values)).sum()))
    if np.isinf(q):
        return float(1 / values.max())
    return float((values**q).sum() ** (1 / (1 - q)))


def gaussian_kernel(features: np.ndarray, bandwidth: float) -> np.ndarray:
    """Return exp(-|x - y|^2 / (2 bandwidth^2)) of all pairs of rows.

    Args:
        features: (n, d) float.
        bandwidth: the distance at which two rows are 0.61 alike; take it from real images, so that one scale
            serves both sets.

    Returns:
        (n, n) float64, ones on the diagonal.

    Raises:
        ValueError: the bandwidth is not above 0.
    """
    if not bandwidth > 0:
        raise ValueError(f"expected a bandwidth above 0, got {bandwidth}: are all real images equal?")
    features = np.asarray(features, dtype=np.float64)
    squares = (features**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * features @ features.T, 0)
    np.fill_diagonal(distances, 0)
    return np.exp(-distances / (2 * bandwidth**2))


def per_mask_diversity(
    samples: np.ndarray,
    mask_id: np.ndarray,
    *,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    pairs_per_mask: int = 6,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per mask with several samples, how far they lie apart.

    Near 0 for masks of training patients but not for those of others: the mask calls up a stored image.

    Args:
        samples: (N, H, W) float in [0, 1].
        mask_id: (N,) which mask each sample was made from.
        distance: of two (K, H, W) arrays, (K,); 1 - MS-SSIM by default.
        pairs_per_mask: at most so many random pairs of one mask are compared.
        seed: the run's seed.

    Returns:
        The masks with two or more samples, (K,), and their mean pairwise distance, (K,) float64; both empty if
        there is none.
    """
    distance = distance or (lambda x, y: 1 - ms_ssim(x, y))
    rng = np.random.default_rng([seed, _SAMPLES])
    masks, first, second, owner = [], [], [], []
    for mask in np.unique(mask_id):
        rows = np.flatnonzero(np.asarray(mask_id) == mask)
        if len(rows) < 2:
            continue
        left, right = np.triu_indices(len(rows), 1)
        chosen = rng.permutation(len(left))[:pairs_per_mask]
        first.append(rows[left[chosen]])
        second.append(rows[right[chosen]])
        owner.append(np.full(len(chosen), len(masks)))
        masks.append(mask)
    if not masks:
        return np.empty(0, dtype=np.asarray(mask_id).dtype), np.empty(0)
    found = distance(samples[np.concatenate(first)], samples[np.concatenate(second)])
    owners = np.concatenate(owner)
    return np.array(masks), np.bincount(owners, weights=found) / np.bincount(owners)
