"""Reading grey PNG files of 1, 8 or 16 bits without losing or inventing values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmrsynth.data.files import reason
from cmrsynth.errors import InputError


def read_png(path: Path, *, is_mask: bool) -> np.ndarray:
    """Return a PNG as stored numbers.

    Args:
        path: the file.
        is_mask: a palette image gives its indices if it is a mask, its (grey) palette colours if it is an image.

    Returns:
        (H, W) float32 for an image, int32 for a mask.

    Raises:
        InputError: the file is missing, damaged, or in colour (channels differ), or has a transparent part.
    """
    from PIL import Image

    if not path.is_file():
        what = "the mask file is missing" if is_mask else "the image file is missing"
        raise InputError(path, what, "put it there, named like its partner")
    try:
        with Image.open(path) as picture:
            if picture.mode == "P" and not is_mask:
                picture = picture.convert("RGB")
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path, f"cannot be read as PNG ({reason(error, path)})", "copy or export the file again"
        ) from error
    if pixels.ndim == 3:
        pixels = _grey(pixels, path)
    return pixels.astype(np.int32 if is_mask else np.float32)


def _grey(pixels: np.ndarray, path: Path) -> np.ndarray:
    colours = pixels
    if pixels.shape[2] in (2, 4):
        colours, alpha = pixels[..., :-1], pixels[..., -1]
        if (alpha != np.iinfo(alpha.dtype).max).any():
            raise InputError(path, "parts of the picture are transparent", "export without an alpha channel")
    if (colours != colours[..., :1]).any():
        raise InputError(path, "a colour picture", "export grey values (for a mask: one label number per pixel)")
    return colours[..., 0]
