"""How failures are planted in a set of slices; every function returns a new set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, shift

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.seeds import derive_seed

HEART_MARGIN = 5  # pixels around the mask that a torn background leaves alone
BLOB = 3  # pixels, half the side of the second cavity in an impossible mask


def with_images(part: SliceSet, images: np.ndarray, **more: np.ndarray) -> SliceSet:
    """Return the set with other images, clipped to [0, 1], and whatever else is given."""
    return replace(part, images=np.clip(images, 0, 1).astype(np.float32), **more)


def noisy(part: SliceSet, deviation: float) -> SliceSet:
    """Return the set with white noise added."""
    return with_images(part, part.images + _rng("noise", deviation).normal(0, deviation, part.images.shape))


def flipped(part: SliceSet) -> SliceSet:
    """Return the set with images and masks mirrored left to right."""
    return with_images(part, part.images[:, :, ::-1], masks=part.masks[:, :, ::-1].copy())


def turned(part: SliceSet) -> SliceSet:
    """Return the set with images and masks turned by a quarter; of images that are not square, by a half."""
    turns = 1 if part.images.shape[1] == part.images.shape[2] else 2
    return with_images(part, np.rot90(part.images, turns, (1, 2)), masks=np.rot90(part.masks, turns, (1, 2)).copy())


def shifted(part: SliceSet, pixels: float) -> SliceSet:
    """Return the set moved down and right by whole pixels (masks too), or by a fraction (images only)."""
    move = (0, pixels, pixels)
    if float(pixels).is_integer():
        masks = shift(part.masks, move, order=0, mode="nearest")
        return with_images(part, shift(part.images, move, order=0, mode="nearest"), masks=masks)
    return with_images(part, shift(part.images, move, order=3, mode="nearest"))


def scaled(part: SliceSet, gain: float, offset: float) -> SliceSet:
    """Return the set with other brightness and contrast."""
    return with_images(part, part.images * gain + offset)


def blurred(part: SliceSet, sigma: float) -> SliceSet:
    """Return the set smoothed by a Gaussian of `sigma` pixels."""
    return with_images(part, gaussian_filter(part.images, (0, sigma, sigma)))


def chequered(part: SliceSet, amplitude: float) -> SliceSet:
    """Return the set with the checkerboard that transposed convolutions leave, of this root mean square.

    A kernel of 3 at a stride of 2 reaches every other row twice, and every other column (Odena et al. 2016).
    """
    twice = [1 + np.arange(side) % 2 for side in part.images.shape[1:]]
    pattern = np.outer(*twice).astype(float)
    return with_images(part, part.images + amplitude * (pattern - pattern.mean()) / pattern.std())


def torn(part: SliceSet, reach: int = 6) -> SliceSet:
    """Return the set with every row around the heart displaced on its own; the heart and its margin stay."""
    rng, images = _rng("torn"), part.images.copy()
    for image, mask in zip(images, part.masks, strict=True):
        around = ~binary_dilation(mask > 0, iterations=HEART_MARGIN)
        offsets = rng.integers(-reach, reach + 1, len(image))
        moved = np.stack([np.roll(row, offset) for row, offset in zip(image, offsets, strict=True)])
        image[around] = moved[around]
    return with_images(part, images)


def half_denoised(part: SliceSet, noise: float) -> SliceSet:
    """Return images as a model leaves them that stops on its way: a mixture with noise around mid-grey."""
    grain = 0.5 + _rng("half-denoised").normal(0, 0.3, part.images.shape)
    return with_images(part, (1 - noise) * part.images + noise * grain)


def shuffled_masks(part: SliceSet) -> SliceSet:
    """Return the set with every mask beside the image of another slice."""
    return replace(part, masks=part.masks[_rng("masks").permutation(len(part))])


def swapped_ventricles(part: SliceSet) -> SliceSet:
    """Return the set with the labels of LV and RV exchanged."""
    table = np.arange(256, dtype=np.uint8)
    table[[LV, RV]] = RV, LV
    return replace(part, masks=table[part.masks])


def impossible_masks(part: SliceSet) -> SliceSet:
    """Return the set with a second LV cavity in the background of every other mask, and a gap in its wall."""
    masks = part.masks.copy()
    for mask in masks[::2]:
        corner = mask[: 2 * BLOB + 1, : 2 * BLOB + 1]
        corner[1:-1, 1:-1] = LV
        wall = np.argwhere(mask == MYO)
        if len(wall):
            middle = int(wall[:, 0].mean())
            mask[middle - 1 : middle + 2][mask[middle - 1 : middle + 2] == MYO] = 0
    return replace(part, masks=masks)


def shuffled_conditions(part: SliceSet, attribute: str) -> SliceSet:
    """Return the set with the values of an attribute dealt anew among the patients."""
    patients, row = np.unique(part.patient_id, return_inverse=True)
    first = np.array([np.flatnonzero(part.patient_id == patient)[0] for patient in patients])
    values = getattr(part, attribute)[first]
    return replace(part, **{attribute: values[_rng("conditions", attribute).permutation(len(values))][row]})


def repeated(part: SliceSet) -> SliceSet:
    """Return the set with its first image and mask in the place of every other."""
    return with_images(part, np.repeat(part.images[:1], len(part), 0), masks=np.repeat(part.masks[:1], len(part), 0))


def collapsed(part: SliceSet, patients: int = 1, jitter: float = 0.02) -> SliceSet:
    """Return the set with the slices of its first patients, slightly noisy, in the place of all."""
    kept = np.flatnonzero(np.isin(part.patient_id, part.patients[:patients]))
    rows = kept[np.arange(len(part)) % len(kept)]
    return noisy(with_images(part, part.images[rows], masks=part.masks[rows]), jitter)


def with_copies(part: SliceSet, train: SliceSet, share: float) -> SliceSet:
    """Return the set with a share of its slices (at least one) replaced by training slices, mask and all."""
    rng = _rng("copies", share)
    count = min(max(1, round(share * len(part))), len(train))
    here, there = rng.permutation(len(part))[:count], rng.permutation(len(train))[:count]
    images, masks = part.images.copy(), part.masks.copy()
    images[here], masks[here] = train.images[there], train.masks[there]
    return with_images(part, images, masks=masks)


def only(part: SliceSet, attribute: str, value: str) -> SliceSet:
    """Return the slices with one value of an attribute."""
    return part.select(getattr(part, attribute) == value)


def _rng(*address: object) -> np.random.Generator:
    return np.random.default_rng(derive_seed(0, "planted", *map(str, address)))
