"""The Inception Score, for comparison with older work only."""

from __future__ import annotations

import numpy as np

_SHUFFLE = 43  # random stream


def inception_score(probabilities: np.ndarray, *, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Return the mean and standard deviation over splits of exp(mean KL(p(y|x) || p(y))).

    Warning: it never looks at a real image. With the 1000 ImageNet classes of Inception it says how many kinds of
    dogs and vehicles cardiac images are taken for; do not rank generators of medical images by it. It is at most
    the number of classes or of images in a split, whichever is smaller, and a generator that repeats one image of
    each class scores best. The deviation over splits is no confidence interval.

    Args:
        probabilities: (n, K) float, the class probabilities of each image; rows sum to 1.
        splits: parts the images are divided into, at random; 10 in the source.
        seed: names that division.

    Returns:
        (mean, standard deviation); the mean lies in [1, K].

    Raises:
        ValueError: rows are no probabilities, or a split would hold fewer than two images.

    Source: Salimans et al. 2016, arXiv:1606.03498.

    >>> mean, deviation = inception_score(np.tile(np.eye(4), (5, 1)), splits=1)
    >>> round(mean, 6), deviation
    (4.0, 0.0)
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or splits < 1 or len(p) < 2 * splits:
        raise ValueError(
            f"probabilities: expected (n, K) with two images a split at least, got shape {p.shape} for {splits} "
            "splits; give more images or fewer splits"
        )
    if not (np.isfinite(p).all() and p.min() >= 0 and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise ValueError("probabilities: rows do not sum to 1; give the softmax of the classifier, not its logits")
    order = np.random.default_rng([seed, _SHUFFLE]).permutation(len(p))
    scores = [_score(part) for part in np.array_split(p[order], splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(p: np.ndarray) -> float:
    marginal = p.mean(0)
    ratio = np.divide(p, marginal, out=np.ones_like(p), where=p > 0)  # 0 log 0 is 0
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))
