"""Sample labelled cardiac slices with a rectified flow, in pixels or in the latent space of an autoencoder.

The file travels with the weights to the Hub, so it imports only torch, numpy and diffusers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Tensor

Condition = str | float | Sequence[str | float | None] | None


@dataclass
class RectifiedFlowOutput(BaseOutput):
    """Sampled slices: `images` is (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images."""

    images: Tensor | np.ndarray | list[Image]


class RectifiedFlowPipeline(DiffusionPipeline):
    """Turn label masks into cardiac MR slices by integrating a learned straight flow from noise to image.

    Args:
        unet: predicts the velocity given time, mask and condition embedding; see `MaskUNet` and `SpadeUNet`.
        condition_encoder: embeds attributes, scalars and prompt; see `ConditionEncoder`.
        scheduler: owns the noise levels and the Euler step.
        controlnet: gives the mask to a `unet` that takes none; see `MaskControlNet`.
        duration_encoder: makes the flow a flow map, which takes long steps in one call; see `DurationEncoder`.
        vae: an `AutoencoderKL`; the flow then runs in its latent space.
        text_encoder: a CLIP-type text model of transformers, for prompts.
        tokenizer: of the text encoder.
        condition_dropout: share of training examples whose conditions were all withheld; guidance needs it.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).

    Source: Liu et al. 2022, arXiv:2209.03003; guidance: Ho and Salimans 2022, arXiv:2207.12598, with one scale per
    condition after Brooks et al. 2022, arXiv:2211.09800.
    """

    model_cpu_offload_seq = "text_encoder->condition_encoder->duration_encoder->controlnet->unet->vae"
    _optional_components = ["controlnet", "duration_encoder", "vae", "text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads it)

    def __init__(
        self,
        unet: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        scheduler: FlowMatchEulerDiscreteScheduler,
        controlnet: torch.nn.Module | None = None,
        vae: torch.nn.Module | None = None,
        duration_encoder: torch.nn.Module | None = None,
        text_encoder: torch.nn.Module | None = None,
        tokenizer: object | None = None,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            condition_encoder=condition_encoder,
            scheduler=scheduler,
            controlnet=controlnet,
            duration_encoder=duration_encoder,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(condition_dropout=condition_dropout, pixel_spacing_mm=pixel_spacing_mm)
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def default_solver(self) -> str:
        """The solver that is used where none is named: second order, or the one step a flow map knows."""
        return "heun" if self.duration_encoder is None else "euler"

    @property
    def default_steps(self) -> int:
        """The number of steps that is used where none is named: 10, or the most that a flow map has learned."""
        return 10 if self.duration_encoder is None else max(self.duration_encoder.config.steps)

    @property
    def latent_factor(self) -> int:
        """How many pixels one position of the flow's space stands for, along each side."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def sample_size(self) -> int:
        """Height and width of the images seen in training, in pixels."""
        return self.unet.config.sample_size * self.latent_factor

    @property
    def mask_channels(self) -> int:
        """Label classes a mask must have, background included; 0 if the model takes no mask."""
        return (self.unet if self.controlnet is None else self.controlnet).config.mask_channels

    def check_inputs(
        self,
        mask: Tensor | None = None,
        *,
        num_inference_steps: int | None = None,
        solver: str | None = None,
        guidance_scale: float = 1.0,
        mask_guidance_scale: float | None = None,
        control_scale: float = 1.0,
        control_range: tuple[float, float] = (0.0, 1.0),
        output_type: str = "pt",
    ) -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if num_inference_steps is not None and num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {num_inference_steps}")
        if solver not in (None, "euler", "heun"):
            raise ValueError(f"solver must be 'euler' or 'heun', got {solver!r}")
        if solver == "heun" and self.duration_encoder is not None:
            raise ValueError(
                "solver='heun' averages two velocities, and in the steps it learned this flow map predicts the average "
                "over the whole step itself; use solver='euler', for more steps too"
            )
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        _check_scheduler(self.scheduler)
        self.condition_encoder.check_guidance(
            guidance_scale, mask_guidance_scale, self.config.condition_dropout, self.mask_channels
        )
        self.condition_encoder.check_control(self.controlnet, control_scale, control_range)
        if mask is not None:
            factor = 2 ** (len(self.unet.config.block_out_channels) - 1) * self.latent_factor
            self.condition_encoder.check_mask(mask, self.mask_channels, factor)

    def encode_conditions(
        self, batch_size: int, prompt: str | Sequence[str] | None = None, **values: Condition
    ) -> Tensor:
        """Return the (B, D) embedding of attributes, scalars and prompts; what is not given is left open."""
        encoder = self.condition_encoder
        text = None if prompt is None else encoder.encode_prompt(prompt, self.text_encoder, self.tokenizer)
        return encoder(encoder.encode(batch_size, text=text, **values).to(self.unet.device))

    def encode_image(self, image: Tensor) -> Tensor:
        """Return images (B, 1, H, W) in [-1, 1] where the flow lives: as they are, or the latent's mean."""
        if self.vae is None:
            return image
        latent = self.vae.encode(image.to(self.vae.dtype)).latent_dist.mode()
        return (latent - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor

    def decode_image(self, sample: Tensor) -> Tensor:
        """Return (B, 1, H, W) images in [-1, 1] from a sample of the flow."""
        if self.vae is None:
            return sample
        latent = sample / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return self.vae.decode(latent).sample

    def predictor(
        self, mask: Tensor | None, condition: Tensor, control_scale: float = 1.0, duration: float = 0.0
    ) -> Callable[..., Tensor]:
        """Return f(point, timestep, with mask?, with conditions?), as `ConditionEncoder.predictor` makes it.

        Of a flow map it is the average velocity over `duration`, of any flow the velocity at duration 0.
        """
        control = {"controlnet": self.controlnet, "control_scale": control_scale, "latent_factor": self.latent_factor}
        if self.duration_encoder is not None:
            control["duration"] = self.duration_encoder(torch.tensor([duration], device=self.unet.device))
        return self.condition_encoder.predictor(self.unet, mask, condition, **control)

    def velocity(self, sample: Tensor, t: Tensor, mask: Tensor | None = None, **conditions: Condition) -> Tensor:
        """Return the predicted velocity (noise - image) of the conditional model, for audits.

        Args:
            sample: (B, C, H, W), a point on the path between `encode_image(image)` (t = 0) and noise (t = 1).
            t: (B,) in [0, 1].
            mask: (B, K, H, W) one-hot in pixels, or None.
            conditions: values as in `__call__`.
        """
        embedding = self.encode_conditions(len(sample), **conditions)
        return self.predictor(mask, embedding)(sample, 1000 * t)

    @torch.no_grad()
    def __call__(
        self,
        mask: Tensor | None = None,
        *,
        prompt: str | Sequence[str] | None = None,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        solver: str | None = None,
        guidance_scale: float = 1.0,
        mask_guidance_scale: float | None = None,
        control_scale: float = 1.0,
        control_range: tuple[float, float] = (0.0, 1.0),
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        **conditions: Condition,
    ) -> RectifiedFlowOutput | tuple:
        """Sample one slice per mask.

        Args:
            mask: (B, K, H, W) one-hot label masks; None samples `batch_size` slices without one.
            prompt: text, or one per image, for a model trained with prompts.
            batch_size: number of slices where there is no mask.
            num_inference_steps: solver steps from noise to image; Heun evaluates the network twice in all but the last.
                None is 10, or as many as a flow map has learned; beyond those it is an ordinary flow.
            solver: "euler" (first order) or "heun" (second order); None is heun, or euler of a flow map, whose steps
                are exact as far as it has learned them.
            guidance_scale: 1 follows the conditions as learned; larger values exaggerate them.
            mask_guidance_scale: the same for the mask alone; None is `guidance_scale`.
            control_scale: strength of the ControlNet.
            control_range: first and last part of the steps in which the ControlNet acts, in [0, 1].
            generator: one, or one per image: then an image does not depend on the batch it is sampled in.
            output_type: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or "pil".
            return_dict: False returns a tuple.
            conditions: attributes and scalars the model knows (`condition_encoder.names`), such as vendor="A" or
                phase=["ED", None]: one value, or one per image; None leaves it open.

        Raises:
            ValueError: an argument cannot work; the message says what was expected.
        """
        self.check_inputs(
            mask,
            num_inference_steps=num_inference_steps,
            solver=solver,
            guidance_scale=guidance_scale,
            mask_guidance_scale=mask_guidance_scale,
            control_scale=control_scale,
            control_range=control_range,
            output_type=output_type,
        )
        batch_size = batch_size if mask is None else len(mask)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        device, dtype = self._execution_device, self.unet.dtype
        embedding = self.encode_conditions(batch_size, prompt, **conditions)
        steps = num_inference_steps or self.default_steps
        duration = 0.0 if self.duration_encoder is None else self.duration_encoder.learned(steps)
        predict = self.predictor(mask, embedding, control_scale, duration)
        scales = {"scale": guidance_scale, "mask_scale": mask_guidance_scale}
        # an explicit grid: the scheduler's own spends its last network call on a step of .001
        self.scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], device=device)
        sigmas = self.scheduler.sigmas

        def velocity(point: Tensor, step: int) -> Tensor:
            acts = control_range[0] <= step / steps < control_range[1]
            timestep = 1000 * sigmas[step].to(device)
            return self.condition_encoder.guided(predict, point, timestep, **scales, with_mask=acts)

        size = (self.sample_size,) * 2 if mask is None else tuple(mask.shape[-2:])
        shape = (batch_size, self.unet.config.in_channels, *(side // self.latent_factor for side in size))
        sample = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        solver = solver or self.default_solver
        for i, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            slope = velocity(sample, i)
            if solver == "heun" and i < steps - 1:
                ahead = sample + (sigmas[i + 1] - sigmas[i]).to(dtype) * slope
                slope = (slope + velocity(ahead, i + 1)) / 2
            sample = self.scheduler.step(slope, timestep, sample).prev_sample

        images = (self.decode_image(sample).float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return RectifiedFlowOutput(images=images) if return_dict else (images,)


def _check_scheduler(scheduler: SchedulerMixin) -> None:
    """Raise ValueError unless a scheduler does what this pipeline leaves to it: noise levels, and Euler's step."""
    name = type(scheduler).__name__
    if name != "FlowMatchEulerDiscreteScheduler":
        reason = "integrates noise predictions, and this model predicts the velocity of a straight path"
        if name.startswith("FlowMatch"):
            reason = "makes steps of its own, and here the solver makes them from Euler's"
        raise ValueError(f"{name} {reason}; use FlowMatchEulerDiscreteScheduler, with solver='heun' for second order")
    for setting in ("stochastic_sampling", "invert_sigmas", "use_dynamic_shifting"):
        if scheduler.config.get(setting):
            raise ValueError(f"the scheduler's {setting} is not what this model was trained for; set it to False")
