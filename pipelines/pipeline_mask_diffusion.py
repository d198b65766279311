"""Sample labelled cardiac slices with a diffusion model, in pixels or in the latent space of an autoencoder.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import inspect
import math
from collections.abc import Callable, Sequence

import diffusers
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

Condition = str | float | Sequence[str | float | None] | None
SOLVERS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
FITTING = "make it with from_config(pipeline.scheduler.config)"


class MaskDiffusionPipeline(DiffusionPipeline):
    """Turn label masks into cardiac MR slices by removing noise step by step.

    Args:
        unet: predicts noise, image or v given the timestep, 0 to 999, mask and conditions; see `MaskUNet`.
        condition_encoder: embeds attributes, scalars and prompt, and guides by them; see `ConditionEncoder`.
        scheduler: owns the noise levels and the sampling step; one of `SOLVERS`.
        controlnet: gives the mask to a `unet` that takes none; see `MaskControlNet`.
        vae: an `AutoencoderKL`; the diffusion then runs in its latent space.
        text_encoder: a CLIP-type text model of transformers, for prompts.
        tokenizer: of the text encoder.
        condition_dropout: share of training examples whose conditions were all withheld; guidance needs it.
        pixel_spacing_mm: in-plane spacing of the training images (0 = not stated).
        prediction_type: what the network was trained to predict, "epsilon", "sample" or "v_prediction"; a scheduler
            swapped in later is held to it, as it is to `halfway_alpha`. None takes both from the scheduler.
        halfway_alpha: `alphas_cumprod` at the middle timestep of the training, which tells its noise levels.

    Source: Ho et al. 2020, arXiv:2006.11239; DDIM: Song et al. 2020, arXiv:2010.02502; v: Salimans and Ho 2022,
    arXiv:2202.00512; masks: Konz et al. 2024, arXiv:2402.05210.
    """

    model_cpu_offload_seq = "text_encoder->condition_encoder->controlnet->unet->vae"
    _optional_components = ["controlnet", "vae", "text_encoder", "tokenizer"]  # noqa: RUF012 (diffusers reads it)

    def __init__(
        self,
        unet: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        scheduler: SchedulerMixin,
        controlnet: torch.nn.Module | None = None,
        vae: torch.nn.Module | None = None,
        text_encoder: torch.nn.Module | None = None,
        tokenizer: object | None = None,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
        prediction_type: str | None = None,
        halfway_alpha: float | None = None,
    ) -> None:
        super().__init__()
        _check_kind(scheduler)
        networks = {"unet": unet, "condition_encoder": condition_encoder, "controlnet": controlnet, "vae": vae}
        self.register_modules(**networks, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer)
        self.register_to_config(
            condition_dropout=condition_dropout,
            pixel_spacing_mm=pixel_spacing_mm,
            prediction_type=prediction_type or scheduler.config.prediction_type,
            halfway_alpha=_halfway_alpha(scheduler) if halfway_alpha is None else halfway_alpha,
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def latent_factor(self) -> int:
        """How many pixels one position of the diffusion's space stands for, along each side."""
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
        num_inference_steps: int = 50,
        solver: str | None = None,
        eta: float = 0.0,
        guidance_scale: float = 1.0,
        mask_guidance_scale: float | None = None,
        control_scale: float = 1.0,
        control_range: tuple[float, float] = (0.0, 1.0),
        output_type: str = "pt",
    ) -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")
        scheduler = self.scheduler_for(solver)
        self.check_scheduler(scheduler)
        _check_steps(scheduler, num_inference_steps)
        if eta and type(scheduler).__name__ != "DDIMScheduler":
            raise ValueError(f"eta is the noise of DDIM, and the scheduler is {type(scheduler).__name__}; leave it 0")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be between 0 (no noise) and 1 (as in DDPM), got {eta}")
        self.condition_encoder.check_guidance(
            guidance_scale, mask_guidance_scale, self.config.condition_dropout, self.mask_channels
        )
        self.condition_encoder.check_control(self.controlnet, control_scale, control_range)
        if mask is not None:
            factor = 2 ** (len(self.unet.config.block_out_channels) - 1) * self.latent_factor
            self.condition_encoder.check_mask(mask, self.mask_channels, factor)

    def scheduler_for(self, solver: str | None) -> SchedulerMixin:
        """Return the pipeline's scheduler, or that of `SOLVERS` with the same noise levels.

        Raises:
            ValueError: there is no such solver.
        """
        if solver is None:
            return self.scheduler
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {sorted(SOLVERS)}, or None for the pipeline's, got {solver!r}")
        # the noise in pure noise says nothing of the image: DPM-Solver has to start a little earlier
        clip = {"lambda_min_clipped": -5.1} if (solver, self.config.prediction_type) == ("dpm", "epsilon") else {}
        return getattr(diffusers, SOLVERS[solver]).from_config(self.scheduler.config, **clip)

    def check_scheduler(self, scheduler: SchedulerMixin) -> None:
        """Raise ValueError unless a scheduler integrates what this model predicts, over the noise it has seen."""
        _check_kind(scheduler)
        name, expected = type(scheduler).__name__, scheduler.config.prediction_type
        if expected != self.config.prediction_type:
            raise ValueError(
                f"the model predicts {self.config.prediction_type!r} and {name} expects {expected!r}; {FITTING}"
            )
        if not math.isclose(_halfway_alpha(scheduler), self.config.halfway_alpha, rel_tol=0.01):
            schedule = scheduler.config.beta_schedule
            raise ValueError(f"the noise levels of {name} ({schedule!r}) are not those of the training; {FITTING}")
        if expected == "epsilon" and scheduler.alphas_cumprod[-1] < 1e-5 and not _starts_safely(scheduler):
            raise ValueError(
                f"this schedule ends in pure noise, and {name} divides by what is left of the image there; use DDIM "
                "with clip_sample, DPM-Solver with lambda_min_clipped=-5.1, or timestep_spacing='leading'"
            )

    def encode_conditions(
        self, batch_size: int, prompt: str | Sequence[str] | None = None, **values: Condition
    ) -> Tensor:
        """Return the (B, D) embedding of attributes, scalars and prompts; what is not given is left open."""
        encoder = self.condition_encoder
        text = None if prompt is None else encoder.encode_prompt(prompt, self.text_encoder, self.tokenizer)
        return encoder(encoder.encode(batch_size, text=text, **values).to(self.unet.device))

    def encode_image(self, image: Tensor) -> Tensor:
        """Return images (B, 1, H, W) in [-1, 1] where the diffusion lives: as they are, or the latent's mean."""
        if self.vae is None:
            return image
        latent = self.vae.encode(image.to(self.vae.dtype)).latent_dist.mode()
        return (latent - (self.vae.config.shift_factor or 0.0)) * self.vae.config.scaling_factor

    def decode_image(self, sample: Tensor) -> Tensor:
        """Return (B, 1, H, W) images in [-1, 1] from a sample of the diffusion."""
        if self.vae is None:
            return sample
        latent = sample / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        return self.vae.decode(latent).sample

    def predictor(self, mask: Tensor | None, condition: Tensor, control_scale: float = 1.0) -> Callable[..., Tensor]:
        """Return f(point, timestep, with mask?, with conditions?), as `ConditionEncoder.predictor` makes it."""
        control = {"controlnet": self.controlnet, "control_scale": control_scale, "latent_factor": self.latent_factor}
        return self.condition_encoder.predictor(self.unet, mask, condition, **control)

    def predict_noise(
        self, sample: Tensor, timestep: Tensor, mask: Tensor | None = None, **conditions: Condition
    ) -> Tensor:
        """Return the noise the conditional model sees in `sample`, whatever it was trained to predict, for audits.

        Args:
            sample: (B, C, H, W): sqrt(a) `encode_image(image)` + sqrt(1 - a) noise, a = scheduler.alphas_cumprod.
            timestep: (B,) int64 in 0...999.
            mask: (B, K, H, W) one-hot in pixels, or None.
            conditions: values as in `__call__`.
        """
        predicted = self.predictor(mask, self.encode_conditions(len(sample), **conditions))(sample, timestep)
        alpha = self.scheduler.alphas_cumprod.to(sample.device)[timestep].view(-1, 1, 1, 1)
        signal, noise, kind = alpha.sqrt(), (1 - alpha).sqrt(), self.config.prediction_type
        if kind == "v_prediction":
            return signal * predicted + noise * sample
        return predicted if kind == "epsilon" else (sample - signal * predicted) / noise

    @torch.no_grad()
    def __call__(
        self,
        mask: Tensor | None = None,
        *,
        prompt: str | Sequence[str] | None = None,
        batch_size: int = 1,
        num_inference_steps: int = 50,
        solver: str | None = None,
        eta: float = 0.0,
        guidance_scale: float = 1.0,
        mask_guidance_scale: float | None = None,
        control_scale: float = 1.0,
        control_range: tuple[float, float] = (0.0, 1.0),
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        **conditions: Condition,
    ) -> ImagePipelineOutput | tuple:
        """Sample one slice per mask.

        Args:
            mask: (B, K, H, W) one-hot label masks; None samples `batch_size` slices without one.
            prompt: text, or one per image, for a model trained with prompts.
            batch_size: number of slices where there is no mask.
            num_inference_steps: steps from noise to image.
            solver: "ddpm", "ddim", "dpm" or "unipc" in the place of the pipeline's scheduler (DDIM after training).
            eta: of DDIM: 0 adds no noise on the way, 1 as much as DDPM.
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
        steps = {"num_inference_steps": num_inference_steps, "solver": solver, "eta": eta}
        scales = {"guidance_scale": guidance_scale, "mask_guidance_scale": mask_guidance_scale}
        control = {"control_scale": control_scale, "control_range": control_range}
        self.check_inputs(mask, **steps, **scales, **control, output_type=output_type)
        batch_size = batch_size if mask is None else len(mask)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} images; give one, or one per image")
        scheduler = self.scheduler_for(solver)
        device, dtype = self._execution_device, self.unet.dtype
        predict = self.predictor(mask, self.encode_conditions(batch_size, prompt, **conditions), control_scale)
        scheduler.set_timesteps(num_inference_steps, device=device)
        taken = inspect.signature(scheduler.step).parameters  # UniPC adds no noise on the way
        drawn = {k: v for k, v in {"generator": generator, "eta": eta}.items() if k in taken}

        size = (self.sample_size,) * 2 if mask is None else tuple(mask.shape[-2:])
        shape = (batch_size, self.unet.config.in_channels, *(side // self.latent_factor for side in size))
        sample = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        for step, timestep in enumerate(self.progress_bar(scheduler.timesteps)):
            acts = control_range[0] <= step / num_inference_steps < control_range[1]
            predicted = self.condition_encoder.guided(
                predict, sample, timestep, scale=guidance_scale, mask_scale=mask_guidance_scale, with_mask=acts
            )
            sample = scheduler.step(predicted, timestep, sample, **drawn).prev_sample.to(dtype)

        images = (self.decode_image(sample).float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        return ImagePipelineOutput(images=images) if return_dict else (images,)


def _check_kind(scheduler: SchedulerMixin) -> None:
    name = type(scheduler).__name__
    if name not in SOLVERS.values() or scheduler.config.get("use_flow_sigmas"):
        raise ValueError(
            f"{name} does not integrate the noise levels of a diffusion model; use one of {list(SOLVERS.values())}"
        )


def _halfway_alpha(scheduler: SchedulerMixin) -> float:
    return scheduler.alphas_cumprod[len(scheduler.alphas_cumprod) // 2].item()


def _starts_safely(scheduler: SchedulerMixin) -> bool:
    """Tell whether dividing by almost nothing is avoided: by starting earlier, or by clipping the predicted image."""
    name, settings = type(scheduler).__name__, scheduler.config
    if settings.timestep_spacing == "leading":
        return True
    if name in ("DDPMScheduler", "DDIMScheduler"):
        return settings.clip_sample
    return name == "DPMSolverMultistepScheduler" and settings.lambda_min_clipped > -6


def _check_steps(scheduler: SchedulerMixin, steps: int) -> None:
    """Raise ValueError unless the scheduler can go from noise to image in so many steps."""
    levels = len(scheduler.alphas_cumprod)
    if not 1 <= steps <= levels:
        raise ValueError(f"num_inference_steps must be 1 to {levels}, got {steps}")
    # DDIM of diffusers goes `levels // steps` down while the next timestep lies `levels / steps` lower
    spaced = type(scheduler).__name__ == "DDIMScheduler" and scheduler.config.timestep_spacing != "leading"
    if spaced and levels / steps > 1.05 * (levels // steps):
        raise ValueError(f"DDIM would leave noise behind in {steps} steps; use at most 50, or a divisor of {levels}")
