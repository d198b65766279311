"""Make cardiac slices without masks in one pass of a generator.

The file travels with the weights to the Hub, so it imports only torch, numpy and diffusers.
"""

from collections.abc import Sequence
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
class GanOutput(BaseOutput):
    """Generated slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class GanPipeline(DiffusionPipeline):
    """Turn random vectors into cardiac MR slices.

    Args:
        generator: makes an image from a random vector and an embedding; see `DcganGenerator` and `ResidualGenerator`.
        condition_encoder: embeds attributes, scalars and prompt; see `ConditionEncoder`.
        text_encoder: a CLIP-type text model of transformers, for prompts.
        tokenizer: of the text encoder.
        condition_dropout: share of training examples whose conditions were all withheld.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Radford et al. 2015, arXiv:1511.06434; Huang et al. 2024, arXiv:2501.05441.
    """

    model_cpu_offload_seq = "text_encoder->condition_encoder->generator"
    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads it)

    def __init__(
        self,
        generator: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        text_encoder: torch.nn.Module | None = None,
        tokenizer: object | None = None,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            generator=generator,
            condition_encoder=condition_encoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(condition_dropout=condition_dropout, pixel_spacing_mm=pixel_spacing_mm)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def sample_size(self) -> int:
        """Height and width of the images, in pixels."""
        return self.generator.config.sample_size

    @property
    def mask_channels(self) -> int:
        """0: the model takes no mask."""
        return 0

    @property
    def latent_dim(self) -> int:
        """Length of the random vector."""
        return self.generator.config.latent_dim

    def decode_latent(self, latent: Tensor, mask: Tensor | None = None, **conditions: Condition) -> Tensor:
        """Return (B, 1, H, W) images, about [-1, 1], of random vectors, for audits; gradients pass.

        Args:
            latent: (B, latent_dim), standard normal.
            mask: None; this model takes no mask.
            conditions: values as in `__call__`.
        """
        self.check_inputs(mask)
        encoder = self.condition_encoder
        rows = encoder.encode(len(latent), **conditions).to(self.generator.device)
        return self.generator(latent.to(rows.device, self.generator.dtype), encoder(rows))

    def check_inputs(self, mask: Tensor | None = None, *, temperature: float = 1.0, output_type: str = "pt") -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if mask is not None:
            self.condition_encoder.check_mask(mask, self.mask_channels, 1)
        if temperature < 0:
            raise ValueError(f"temperature must be 0 or more, got {temperature}; 1 is as learned")
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")

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
    ) -> GanOutput | tuple:
        """Make `batch_size` slices.

        Args:
            mask: None; this model takes no mask.
            prompt: text, or one per image, for a model trained with prompts.
            batch_size: number of slices.
            temperature: length of the random vectors; below 1, more typical and more alike slices.
            generator: one, or one per image: then an image does not depend on the batch it is made in.
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.
            conditions: attributes and scalars the model knows (`condition_encoder.names`), such as vendor="A" or
                phase=["ED", None]: one value, or one per image; None leaves it open.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(mask, temperature=temperature, output_type=output_type)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        encoder, network = self.condition_encoder, self.generator
        text = None if prompt is None else encoder.encode_prompt(prompt, self.text_encoder, self.tokenizer)
        condition = encoder(encoder.encode(batch_size, text=text, **conditions).to(network.device))
        shape = (batch_size, network.config.latent_dim)
        latent = randn_tensor(shape, generator=generator, device=network.device, dtype=network.dtype)
        images = network(temperature * latent, condition)

        images = (images.float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return GanOutput(images=images) if return_dict else (images,)
