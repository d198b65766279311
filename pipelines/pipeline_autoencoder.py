"""Encode cardiac slices into the latents a flow or diffusion can be trained on, and decode them again.

The file travels with the weights to the Hub, so it imports only torch, numpy and diffusers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from PIL.Image import Image
from torch import Tensor


@dataclass
class AutoencoderOutput(BaseOutput):
    """Reconstructed slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class AutoencoderPipeline(DiffusionPipeline):
    """Reconstruct slices through a latent of fewer numbers; it makes no new ones.

    Its `vae` folder is a plain `AutoencoderKL`. The configured shift and scale bring the latents of the training
    images to mean 0 and deviation 1.

    Args:
        vae: the autoencoder.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Rombach et al. 2022, arXiv:2112.10752.
    """

    model_cpu_offload_seq = "vae"

    def __init__(self, vae: AutoencoderKL, pixel_spacing_mm: float = 0.0) -> None:
        super().__init__()
        self.register_modules(vae=vae)
        self.register_to_config(pixel_spacing_mm=pixel_spacing_mm)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def sample_size(self) -> int:
        """Height and width of the images seen in training, in pixels."""
        return self.vae.config.sample_size

    @property
    def latent_factor(self) -> int:
        """How many pixels one position of the latent stands for, along each side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def check_inputs(self, image: Tensor, *, output_type: str = "pt") -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        if image.ndim != 4 or image.shape[1] != 1 or any(side % self.latent_factor for side in image.shape[-2:]):
            raise ValueError(
                f"images must be (B, 1, H, W) with sides that are multiples of {self.latent_factor}, got "
                f"{tuple(image.shape)}; crop or pad them"
            )
        if image.min() < 0 or image.max() > 1:
            raise ValueError(f"images must lie in [0, 1], got [{image.min():.3g}, {image.max():.3g}]; rescale them")

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Return the (B, C, h, w) latents of images (B, 1, H, W) in [0, 1]: posterior means, shifted and scaled."""
        self.check_inputs(image)
        vae = self.vae
        mean = vae.encode(2 * image.to(vae.device, vae.dtype) - 1).latent_dist.mode()
        return (mean - vae.config.shift_factor) * vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Return images (B, 1, H, W) in [0, 1] of latents."""
        vae = self.vae
        latent = latent.to(vae.device, vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        return (vae.decode(latent).sample.float() / 2 + 0.5).clamp(0, 1)

    def __call__(
        self, image: Tensor, *, output_type: str = "pt", return_dict: bool = True
    ) -> AutoencoderOutput | tuple:
        """Reconstruct slices.

        Args:
            image: (B, 1, H, W) in [0, 1].
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(image, output_type=output_type)
        images = self.decode(self.encode(image))
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return AutoencoderOutput(images=images) if return_dict else (images,)
