"""Make labelled cardiac slices in one pass, with a style that a reference image or the attributes decide.

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
class SpadeGanOutput(BaseOutput):
    """Generated slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class SpadeGanPipeline(DiffusionPipeline):
    """Turn label masks into cardiac MR slices: the mask decides the anatomy, a style everything else.

    The style is drawn around what the attributes lead to expect, or, given a reference image, around that image's.
    So the anatomy of one vendor's mask can be shown in the look of another.

    Args:
        generator: makes an image from mask and style; see `SpadeGenerator`.
        style_encoder: reads the style off an image; see `StyleEncoder`.
        condition_encoder: its embedding is the mean of the styles to expect; see `ConditionEncoder`.
        text_encoder: a CLIP-type text model of transformers, for prompts.
        tokenizer: of the text encoder.
        condition_dropout: share of training examples whose mask and conditions were all withheld.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Park et al. 2019, arXiv:1903.07291; a prior that depends on the conditions is ours.
    """

    model_cpu_offload_seq = "text_encoder->condition_encoder->style_encoder->generator"
    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads it)

    def __init__(
        self,
        generator: torch.nn.Module,
        style_encoder: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        text_encoder: torch.nn.Module | None = None,
        tokenizer: object | None = None,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            generator=generator,
            style_encoder=style_encoder,
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
        """Label classes a mask must have, background included."""
        return self.generator.config.mask_channels

    def check_inputs(
        self,
        mask: Tensor | None = None,
        *,
        style_image: Tensor | None = None,
        temperature: float = 1.0,
        output_type: str = "pt",
    ) -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if temperature < 0:
            raise ValueError(f"temperature must be 0 (the expected style) or more, got {temperature}")
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        if mask is not None:
            self.condition_encoder.check_mask(mask, self.mask_channels, 1)
            if tuple(mask.shape[-2:]) != (self.sample_size,) * 2:
                raise ValueError(
                    f"mask height and width must be {self.sample_size}, as in training, got {tuple(mask.shape[-2:])}"
                )
        if style_image is not None:
            if style_image.ndim != 4 or style_image.shape[1] != 1:
                raise ValueError(f"style_image must be of shape (B, 1, H, W), got {tuple(style_image.shape)}")
            if style_image.min() < 0 or style_image.max() > 1:
                raise ValueError(
                    f"style_image must be in [0, 1], got [{style_image.min():.2f}, {style_image.max():.2f}]; "
                    "rescale its intensities"
                )

    def expected_style(
        self,
        batch_size: int,
        style_image: Tensor | None = None,
        prompt: str | Sequence[str] | None = None,
        **conditions: Condition,
    ) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, both (B, S), of the styles that conditions or a reference image imply.

        Args:
            batch_size: B.
            style_image: (1 or B, 1, H, W) in [0, 1]; the conditions then decide nothing.
            prompt: text, or one per image.
            conditions: attributes and scalars, as in `__call__`.
        """
        encoder, like = self.condition_encoder, {"device": self.generator.device, "dtype": self.generator.dtype}
        text = None if prompt is None else encoder.encode_prompt(prompt, self.text_encoder, self.tokenizer)
        rows = encoder.encode(batch_size, text=text, **conditions)  # also refuses what the model does not know
        if style_image is None:
            mean = encoder(rows.to(self.generator.device))
            return mean, torch.ones_like(mean)
        if len(style_image) not in (1, batch_size):
            raise ValueError(f"{len(style_image)} style images for {batch_size} images; give one, or one per image")
        mean, log_variance = self.style_encoder(2 * style_image.to(**like) - 1)
        return mean.expand(batch_size, -1), (log_variance / 2).exp().expand(batch_size, -1)

    @property
    def latent_dim(self) -> int:
        """Length of the random vector, which is the style's."""
        return self.generator.config.style_dim

    def decode_latent(self, latent: Tensor, mask: Tensor | None = None, **conditions: Condition) -> Tensor:
        """Return (B, 1, H, W) images in (-1, 1) of random vectors, for audits; gradients pass.

        Args:
            latent: (B, latent_dim), how far the styles lie from what the conditions lead to expect.
            mask: (B, K, H, W) one-hot, or None.
            conditions: values as in `__call__`.
        """
        self.check_inputs(mask)
        network = self.generator
        if mask is None:
            mask = torch.zeros(len(latent), self.mask_channels, self.sample_size, self.sample_size)
        expected, deviation = self.expected_style(len(latent), **conditions)
        return network(mask.to(network.device), expected + deviation * latent.to(network.device, network.dtype))

    def encode_latent(self, image: Tensor, **conditions: Condition) -> Tensor:
        """Return the (B, latent_dim) vectors whose decoding has the style of images (B, 1, H, W) in [-1, 1]."""
        expected, _ = self.expected_style(len(image), **conditions)
        return self.style_encoder(image.to(self.generator.device, self.generator.dtype))[0] - expected

    @torch.no_grad()
    def __call__(
        self,
        mask: Tensor | None = None,
        *,
        prompt: str | Sequence[str] | None = None,
        batch_size: int = 1,
        style_image: Tensor | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        **conditions: Condition,
    ) -> SpadeGanOutput | tuple:
        """Make one slice per mask.

        Args:
            mask: (B, K, H, W) one-hot label masks; None makes `batch_size` slices without one.
            prompt: text, or one per image, for a model trained with prompts.
            batch_size: number of slices where there is no mask.
            style_image: (1 or B, 1, H, W) in [0, 1], slices whose look is taken; it replaces what the conditions say.
            temperature: spread of the styles; 1 as learned, 0 the expected style every time.
            generator: one, or one per image: then an image does not depend on the batch it is made in.
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.
            conditions: attributes and scalars the model knows (`condition_encoder.names`), such as vendor="A" or
                phase=["ED", None]: one value, or one per image; None leaves it open.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(mask, style_image=style_image, temperature=temperature, output_type=output_type)
        batch_size = batch_size if mask is None else len(mask)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        network = self.generator
        if mask is None:
            mask = torch.zeros(batch_size, self.mask_channels, self.sample_size, self.sample_size)
        mean, deviation = self.expected_style(batch_size, style_image, prompt, **conditions)
        noise = randn_tensor(tuple(mean.shape), generator=generator, device=network.device, dtype=network.dtype)
        images = network(mask.to(network.device), mean + temperature * deviation * noise)

        images = (images.float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return SpadeGanOutput(images=images) if return_dict else (images,)
