"""Sample labelled cardiac slices with a mask-conditioned rectified flow.

The file travels with the weights to the Hub, so it imports only torch, numpy and diffusers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Tensor

Attribute = str | Sequence[str | None] | None


@dataclass
class RectifiedFlowOutput(BaseOutput):
    """Sampled slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class RectifiedFlowPipeline(DiffusionPipeline):
    """Turn label masks into cardiac MR slices by integrating a learned straight flow from noise to image.

    Args:
        unet: predicts the velocity; see `MaskUNet`.
        scheduler: owns the noise levels and the Euler step.
        condition_dropout: share of training examples whose mask and attributes were all withheld; guidance needs it.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Liu et al. 2022, arXiv:2209.03003; guidance: Ho and Salimans 2022, arXiv:2207.12598.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self,
        unet: torch.nn.Module,
        scheduler: FlowMatchEulerDiscreteScheduler,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(condition_dropout=condition_dropout, pixel_spacing_mm=pixel_spacing_mm)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    def check_inputs(
        self, mask: Tensor | None, num_inference_steps: int, guidance_scale: float, solver: str, output_type: str
    ) -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        channels, levels = self.unet.config.mask_channels, len(self.unet.config.block_out_channels)
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {num_inference_steps}")
        if solver not in ("euler", "heun"):
            raise ValueError(f"solver must be 'euler' or 'heun', got {solver!r}")
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        if guidance_scale != 1.0 and self.config.condition_dropout == 0:
            raise ValueError(
                f"guidance_scale is {guidance_scale}, but this model was trained without condition dropout and has "
                "no unconditional velocity to guide from; use guidance_scale=1"
            )
        if mask is None:
            return
        if mask.ndim != 4 or mask.shape[1] != channels:
            raise ValueError(
                f"mask must be one-hot of shape (B, {channels}, H, W), got {tuple(mask.shape)}; "
                "make it with cmrsynth.labels.one_hot(labels) from labels of shape (B, H, W)"
            )
        if any(side % 2 ** (levels - 1) for side in mask.shape[-2:]):
            raise ValueError(
                f"mask height and width must be multiples of {2 ** (levels - 1)}, got {tuple(mask.shape[-2:])}"
            )
        if not torch.equal(mask.sum(1), torch.ones_like(mask[:, 0])) or not ((mask == 0) | (mask == 1)).all():
            raise ValueError(
                "mask must be one-hot: exactly one channel of each pixel is 1, background (channel 0) included"
            )

    def velocity(self, sample: Tensor, t: Tensor, mask: Tensor | None = None, **attributes: Attribute) -> Tensor:
        """Return the predicted velocity (noise - image) of the conditional model, for audits.

        Args:
            sample: (B, 1, H, W), a point on the path between image (in [-1, 1], t = 0) and noise (t = 1).
            t: (B,) in [0, 1].
            mask: (B, K, H, W) one-hot, or None.
            attributes: values as in `__call__`.
        """
        indices = self.unet.encode_attributes(len(sample), **attributes).to(sample.device)
        return self.unet(sample, 1000 * t, mask=mask, attributes=indices).sample

    @torch.no_grad()
    def __call__(
        self,
        mask: Tensor | None = None,
        *,
        pathology: Attribute = None,
        vendor: Attribute = None,
        phase: Attribute = None,
        slice_level: Attribute = None,
        batch_size: int = 1,
        num_inference_steps: int = 10,
        solver: str = "heun",
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
    ) -> RectifiedFlowOutput | tuple:
        """Sample one slice per mask.

        Args:
            mask: (B, K, H, W) one-hot label masks; None samples `batch_size` unconditional slices.
            pathology: one value, or one per image, from the model's vocabulary; None leaves it open.
            vendor: likewise.
            phase: likewise ("ED", "ES").
            slice_level: likewise ("basal", "mid", "apical").
            batch_size: number of slices where there is no mask.
            num_inference_steps: solver steps from noise to image; Heun evaluates the network twice in all but the last.
            solver: "euler" (first order) or "heun" (second order).
            guidance_scale: 1 follows the conditions as learned; larger values exaggerate them.
            generator: one, or one per image: then an image does not depend on the batch it is sampled in.
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(mask, num_inference_steps, guidance_scale, solver, output_type)
        batch_size = batch_size if mask is None else len(mask)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        device, dtype = self._execution_device, self.unet.dtype
        given = {"pathology": pathology, "vendor": vendor, "phase": phase, "slice_level": slice_level}
        attributes = self.unet.encode_attributes(batch_size, **given).to(device)
        size = (self.unet.config.sample_size,) * 2 if mask is None else tuple(mask.shape[-2:])
        mask = None if mask is None else mask.to(device, dtype)
        sample = randn_tensor(
            (batch_size, self.unet.config.in_channels, *size), generator=generator, device=device, dtype=dtype
        )

        def velocity(point: Tensor, sigma: Tensor) -> Tensor:
            timestep = 1000 * sigma.to(device)
            conditional = self.unet(point, timestep, mask=mask, attributes=attributes).sample
            if guidance_scale == 1.0:
                return conditional
            return torch.lerp(self.unet(point, timestep).sample, conditional, guidance_scale)

        # an explicit grid: the scheduler's own spends its last network call on a step of .001
        self.scheduler.set_timesteps(
            sigmas=[1 - step / num_inference_steps for step in range(num_inference_steps)], device=device
        )
        sigmas = self.scheduler.sigmas
        for i, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            slope = velocity(sample, sigmas[i])
            if solver == "heun" and i < num_inference_steps - 1:
                ahead = sample + (sigmas[i + 1] - sigmas[i]).to(dtype) * slope
                slope = (slope + velocity(ahead, sigmas[i + 1])) / 2
            sample = self.scheduler.step(slope, timestep, sample).prev_sample

        images = (sample.float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return RectifiedFlowOutput(images=images) if return_dict else (images,)
