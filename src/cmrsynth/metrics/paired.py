"""Similarity of image pairs: what an autoencoder loses, and how alike two images are.

These figures are right for pairs that ought to be equal, such as an image and its reconstruction. Between a
synthetic image and the real one that owns its mask they reward copying: a high value there is no merit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

WINDOW = 11  # pixels; torchmetrics derives it from the width of the Gaussian (1.5) and ignores its own kernel_size
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first
LPIPS_SMALLEST = 32  # AlexNet's last pooling has nothing left below
_BATCH_PIXELS = 2**20


def psnr(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each pair in dB, for a peak of 1: 10 log10(1 / MSE).

    Args:
        x: (N, H, W) float in [0, 1].
        y: (N, H, W) float in [0, 1]; image i is compared with image i.

    Returns:
        (N,) float64; infinite for equal images, and higher is closer.

    Raises:
        ValueError: shapes differ, or values lie outside [0, 1].

    >>> psnr(np.zeros((1, 16, 16)), np.full((1, 16, 16), 0.1))
    array([20.])
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    def of_batch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return peak_signal_noise_ratio(a.double(), b.double(), data_range=1.0, reduction="none", dim=(1, 2, 3))

    return _per_pair(of_batch, *_checked(x, y, 1))


def ssim(x: np.ndarray, y: np.ndarray, *, roi: np.ndarray | None = None) -> np.ndarray:
    """Return the structural similarity of each pair, with the 11 x 11 Gaussian window of the original (sigma 1.5).

    A dark or empty background is nearly equal in any two images and inflates the mean; `roi` averages the map of
    local similarities over the heart alone.

    Args:
        x: (N, H, W) float in [0, 1], at least 11 pixels a side.
        y: (N, H, W) float in [0, 1].
        roi: (N, H, W) bool; the pixels whose windows count. None takes the whole image.

    Returns:
        (N,) float64 in [-1, 1]; 1 for equal images, NaN where the region is empty.

    Raises:
        ValueError: shapes differ, images are too small, or values lie outside [0, 1].

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861.

    >>> ssim(np.full((1, 16, 16), 0.2), np.full((1, 16, 16), 0.4)).round(4)
    array([0.8001])
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = _checked(x, y, WINDOW)
    if roi is not None and np.shape(roi) != x.shape:
        raise ValueError(f"roi: expected shape {x.shape}, got {np.shape(roi)}; give one region per pair")

    def of_batch(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        whole, local = structural_similarity_index_measure(
            a, b, data_range=1.0, reduction="none", return_full_image=True
        )
        return whole if roi is None else (local * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))

    return _per_pair(of_batch, x, y, x if roi is None else np.asarray(roi, dtype=np.float32))


def ms_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the multi-scale structural similarity of each pair, over as many scales as the images allow.

    Five scales need 176 pixels, because the 11-pixel window must fit the coarsest. Smaller images take
    `ms_ssim_scales` of them, with the weights of the finest ones scaled to sum to 1; values of images that take
    different numbers of scales cannot be compared, so say how many there were. Negative contrast terms count as 0.

    Args:
        x: (N, H, W) float in [0, 1], at least 11 pixels a side.
        y: (N, H, W) float in [0, 1].

    Returns:
        (N,) float64 in [0, 1]; 1 for equal images.

    Raises:
        ValueError: shapes differ, images are too small, or values lie outside [0, 1].

    Source: Wang, Simoncelli and Bovik 2003, doi:10.1109/ACSSC.2003.1292216.

    >>> ms_ssim(np.full((1, 64, 64), 0.2), np.full((1, 64, 64), 0.2)).round(4)
    array([1.])
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    x, y = _checked(x, y, WINDOW)
    weights = np.array(MS_SSIM_WEIGHTS[: ms_ssim_scales(*x.shape[1:])])
    betas = tuple((weights / weights.sum()).tolist())

    def of_batch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return multiscale_structural_similarity_index_measure(
            a, b, data_range=1.0, reduction="none", betas=betas, kernel_size=WINDOW, normalize="relu"
        )

    return _per_pair(of_batch, x, y)


def ms_ssim_scales(height: int, width: int) -> int:
    """Return how many of the five scales images of this size take; 1 is plain SSIM.

    >>> [ms_ssim_scales(side, side) for side in (16, 32, 64, 128, 256)]
    [1, 2, 3, 4, 5]
    """
    side = min(height, width)
    # the first condition is ours (the window fits the coarsest scale), the second is one torchmetrics insists on
    fits = [
        scales
        for scales in range(1, len(MS_SSIM_WEIGHTS) + 1)
        if side // 2 ** (scales - 1) >= WINDOW and side // max(1, scales - 1) ** 2 >= WINDOW
    ]
    return max(fits, default=1)


def lpips(x: np.ndarray, y: np.ndarray, *, network: str = "alex") -> np.ndarray:
    """Return the learned perceptual distance of each pair.

    The network was trained on photographs; on cardiac images the distance ranks textures, but its size means
    nothing by itself. Its weights are downloaded by torchvision on first use.

    Args:
        x: (N, H, W) float in [0, 1], at least 32 pixels a side.
        y: (N, H, W) float in [0, 1].
        network: "alex", "vgg" or "squeeze".

    Returns:
        (N,) float64, >= 0; 0 for equal images.

    Raises:
        ValueError: shapes differ, images are too small, or values lie outside [0, 1].
        ImportError: torchvision, which holds the networks, does not work here.

    Source: Zhang et al. 2018, arXiv:1801.03924.
    """
    x, y = _checked(x, y, LPIPS_SMALLEST)
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch fails with RuntimeError
        raise ImportError(
            f"LPIPS needs torchvision, which does not work here ({error}); install the extra cmrsynth[lpips]"
        ) from error
    import torch
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    measure = LearnedPerceptualImagePatchSimilarity(net_type=network, normalize=True).eval()  # normalize: from [0, 1]
    found = []
    with torch.inference_mode():
        for pair in zip(x, y, strict=True):  # one at a time: not every version can leave its mean out
            one, other = (torch.from_numpy(image).expand(1, 3, -1, -1) for image in pair)
            found.append(float(measure(one, other)))
            measure.reset()
    return np.array(found)


def _per_pair(of_batch: Callable[..., torch.Tensor], *arrays: np.ndarray) -> np.ndarray:
    """Return `of_batch` of (B, 1, H, W) parts of the arrays, joined as (N,) float64."""
    import torch

    rows = max(1, _BATCH_PIXELS // max(1, arrays[0][0].size))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(arrays[0]), rows):
            batch = [torch.from_numpy(np.ascontiguousarray(a[start : start + rows]))[:, None] for a in arrays]
            parts.append(of_batch(*batch).reshape(-1).double().numpy())
    return np.concatenate(parts)


def _checked(x: np.ndarray, y: np.ndarray, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 3 or x.shape != y.shape or len(x) == 0 or min(x.shape[1:]) < smallest:
        raise ValueError(
            f"pairs: expected two arrays (N, H, W) of one shape and at least {smallest} pixels a side, got shapes "
            f"{x.shape} and {y.shape}; give image i of one set beside image i of the other"
        )
    for each in (x, y):
        # NaN fails both comparisons; 1e-6 is the rounding of float32
        if not (each.dtype.kind == "f" and each.min() >= -1e-6 and each.max() <= 1 + 1e-6):
            raise ValueError(
                f"pairs: expected float images in [0, 1], got {each.dtype} in [{each.min():g}, {each.max():g}]; "
                "scale both sets alike, and clip what a decoder overshoots"
            )
    return x.astype(np.float32), y.astype(np.float32)
