"""Sample and reconstruct labelled cardiac slices with a conditional variational autoencoder, in one pass.

The file travels with the weights to the Hub, so it imports only torch, numpy and diffusers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Tensor

Condition = str | float | Sequence[str | float | None] | None


@dataclass
class VaeOutput(BaseOutput):
    """Sampled slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class VaePipeline(DiffusionPipeline):
    """Turn label masks into cardiac MR slices by decoding a random vector; and slices into their reconstructions.

    Args:
        vae: see `CardiacVAE`.
        condition_encoder: embeds attributes, scalars and prompt; see `ConditionEncoder`.
        text_encoder: a CLIP-type text model of transformers, for prompts.
        tokenizer: of the text encoder.
        condition_dropout: share of training examples whose conditions were all withheld.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Kingma and Welling 2014, arXiv:1312.6114.
    """

    model_cpu_offload_seq = "text_encoder->condition_encoder->vae"
    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads it)

    def __init__(
        self,
        vae: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        text_encoder: torch.nn.Module | None = None,
        tokenizer: Callable | None = None,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, condition_encoder=condition_encoder, text_encoder=text_encoder, tokenizer=tokenizer
        )
        self.register_to_config(condition_dropout=condition_dropout, pixel_spacing_mm=pixel_spacing_mm)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def sample_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.vae.config.sample_size

    @property
    def mask_channels(self) -> int:
        """Label classes a mask must have, background included; 0 if the model takes no mask."""
        return self.vae.config.mask_channels

    def check_inputs(self, mask: Tensor | None = None, *, temperature: float = 1.0, output_type: str = "pt") -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if temperature < 0:
            raise ValueError(
                f"temperature must be at least 0, got {temperature}; 0 is the most typical image of a mask"
            )
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        if mask is not None:
            self.condition_encoder.check_mask(mask, self.mask_channels, 1)
            self._check_size(mask, "mask")

    def _check_image(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != 1:
            raise ValueError(f"image must be of shape (B, 1, H, W), got {tuple(image.shape)}")
        self._check_size(image, "image")
        if image.min() < -1 or image.max() > 1:
            raise ValueError(f"image must lie in [-1, 1], got [{image.min():.3g}, {image.max():.3g}]; rescale it")

    def _check_size(self, given: Tensor, name: str) -> None:
        if given.shape[-2:] != (self.sample_size, self.sample_size):
            raise ValueError(
                f"{name} is {given.shape[-2]}x{given.shape[-1]}, but this model's images are {self.sample_size}x"
                f"{self.sample_size} only; resample it"
            )

    def encode_conditions(
        self, batch_size: int, prompt: str | Sequence[str] | None = None, **values: Condition
    ) -> Tensor:
        """Return the (B, D) embedding of attributes, scalars and prompts; what is not given is left open."""
        encoder = self.condition_encoder
        text = None if prompt is None else encoder.encode_prompt(prompt, self.text_encoder, self.tokenizer)
        return encoder(encoder.encode(batch_size, text=text, **values).to(self.vae.device))

    @torch.no_grad()
    def reconstruct(self, image: Tensor, mask: Tensor | None = None, **conditions: Condition) -> Tensor:
        """Return images decoded from the mean of their posterior.

        Args:
            image: (B, 1, H, W) in [-1, 1].
            mask: (B, K, H, W) one-hot, or None.
            conditions: values as in `__call__`.

        Returns:
            (B, 1, H, W) in [-1, 1].
        """
        self.check_inputs(mask)
        self._check_image(image)
        embedding = self.encode_conditions(len(image), **conditions)
        image = image.to(self.vae.device, self.vae.dtype)
        mean, _ = self.vae.encode(image, mask, embedding)
        return self.vae.decode(mean.to(self.vae.dtype), mask, embedding).clamp(-1, 1)

    def reconstruction_error(self, image: Tensor, mask: Tensor | None = None, **conditions: Condition) -> Tensor:
        """Return the (B,) mean squared error of the reconstructions of images in [-1, 1], for audits.

        Source: the reconstruction attack of Hilprecht et al. 2019 (PETS), which asks whether it is lower for
        training images.
        """
        image = image.to(self.vae.device)
        return (self.reconstruct(image, mask, **conditions).float() - image.float()).square().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def negative_evidence_bound(
        self, image: Tensor, noise: Tensor, mask: Tensor | None = None, **conditions: Condition
    ) -> Tensor:
        """Return the (B,) bound on the negative log-likelihood in nats per pixel, for audits.

        Args:
            image: (B, 1, H, W) in [-1, 1].
            noise: (B, latent_dim), standard normal, for the draw from the posterior.
            mask: (B, K, H, W) one-hot, or None.
            conditions: values as in `__call__`.
        """
        self.check_inputs(mask)
        self._check_image(image)
        embedding = self.encode_conditions(len(image), **conditions)
        device, dtype = self.vae.device, self.vae.dtype
        return sum(self.vae(image.to(device, dtype), noise.to(device), mask, embedding))

    @torch.no_grad()
    def __call__(
        self,
        mask: Tensor | None = None,
        *,
        prompt: str | Sequence[str] | None = None,
        batch_size: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        **conditions: Condition,
    ) -> VaeOutput | tuple:
        """Sample one slice per mask.

        Args:
            mask: (B, K, H, W) one-hot label masks; None samples `batch_size` slices without one.
            prompt: text, or one per image, for a model trained with prompts.
            batch_size: number of slices where there is no mask.
            temperature: deviation of the random vector; below 1 images are more typical and less varied.
            generator: one, or one per image: then an image does not depend on the batch it is sampled in.
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.
            conditions: attributes and scalars the model knows (`condition_encoder.names`), such as vendor="A" or
                phase=["ED", None]: one value, or one per image; None leaves it open.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(mask, temperature=temperature, output_type=output_type)
        batch_size = batch_size if mask is None else len(mask)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        device, dtype = self._execution_device, self.vae.dtype
        embedding = self.encode_conditions(batch_size, prompt, **conditions)
        shape = (batch_size, self.vae.config.latent_dim)
        latent = temperature * randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        images = (self.vae.decode(latent, mask, embedding).float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return VaeOutput(images=images) if return_dict else (images,)
