"""One view of every generator: a noise predictor on the variance-preserving path.

A point of the path is x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) e with Gaussian noise e; alpha_bar = 1 is the
image, 0 is noise. Diffusion models live on it, a rectified flow after rescaling, and a latent model with its
encoded image in the place of x_0. Attacks see nothing else, so that their results can be compared between families.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 1000
PREDICTIONS = ("epsilon", "v_prediction", "sample")


class Denoiser(Protocol):
    """A generator whose conditions (mask, attributes) are already bound to the images under attack."""

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return the predicted e, (B, C, H, W), at the points x_t, (B, C, H, W)."""
        ...


def linear_schedule(steps: int = STEPS, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """Return (steps,) alpha_bar of the linear schedule, in which attacks name their time steps.

    Source: Ho et al. 2020, arXiv:2006.11239.

    >>> linear_schedule()[[0, 999]].round(4).tolist()
    [0.9999, 0.0]
    """
    return np.cumprod(1 - np.linspace(first, last, steps))


def alpha_bar_at(denoiser: Denoiser, step: int) -> float:
    """Return alpha_bar at a time step in 0..999: of the model's own schedule, or of the linear one where it has none.

    A model with another number of steps is asked at the same share of its schedule.

    Raises:
        ValueError: the step is outside 0..999.
    """
    if not 0 <= step < STEPS:
        raise ValueError(f"step: expected 0 <= step < {STEPS}, got {step}; attacks count steps of a {STEPS}-step model")
    own = getattr(denoiser, "alphas_cumprod", None)
    schedule = linear_schedule() if own is None else np.asarray(own, dtype=np.float64)
    return float(schedule[step * len(schedule) // STEPS])


def alpha_bar_of_flow_time(t: float) -> float:
    """Return the alpha_bar with the signal-to-noise ratio of the straight path at time t (0 = image, 1 = noise).

    (1 - t) x_0 + t e = s x_t with s^2 = (1 - t)^2 + t^2, hence alpha_bar = (1 - t)^2 / s^2.

    >>> alpha_bar_of_flow_time(0.5)
    0.5
    """
    return (1 - t) ** 2 / ((1 - t) ** 2 + t**2)


def flow_time_of_alpha_bar(alpha_bar: float) -> float:
    """Return the inverse of `alpha_bar_of_flow_time`.

    >>> flow_time_of_alpha_bar(0.9)
    0.25
    """
    return float(np.sqrt(1 - alpha_bar) / (np.sqrt(alpha_bar) + np.sqrt(1 - alpha_bar)))


def add_noise(image: Tensor, noise: Tensor, alpha_bar: float) -> Tensor:
    """Return the point x_t of the path."""
    return alpha_bar**0.5 * image + (1 - alpha_bar) ** 0.5 * noise


def predict_image(denoiser: Denoiser, point: Tensor, alpha_bar: float) -> Tensor:
    """Return the predicted x_0 at a point of the path."""
    return (point - (1 - alpha_bar) ** 0.5 * denoiser.predict_noise(point, alpha_bar)) / alpha_bar**0.5


def ddim_step(denoiser: Denoiser, point: Tensor, now: float, then: float) -> Tensor:
    """Return the point moved from alpha_bar `now` to `then` along the deterministic path, in either direction.

    Source: Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0.
    """
    noise = denoiser.predict_noise(point, now)
    image = (point - (1 - now) ** 0.5 * noise) / now**0.5
    return add_noise(image, noise, then)


@dataclass(frozen=True)
class FlowDenoiser:
    """A rectified flow as a noise predictor.

    Args:
        velocity: of a point of the straight path (B, C, H, W) and times (B,); returns noise - image.
        average_velocity: of a flow map, the same over the whole way from that time to the image; None of a flow that
            knows the velocity alone.
    """

    velocity: Callable[[Tensor, Tensor], Tensor]
    average_velocity: Callable[[Tensor, float], Tensor] | None = None

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return e = x + (1 - t) v at the rescaled point."""
        t = flow_time_of_alpha_bar(alpha_bar)
        straight = point * ((1 - t) ** 2 + t**2) ** 0.5
        return straight + (1 - t) * self.velocity(straight, point.new_full((len(point),), t))


@dataclass(frozen=True)
class DiffusionDenoiser:
    """A diffusion network with a discrete schedule as a noise predictor.

    Args:
        network: of a point (B, C, H, W) and integer time steps (B,); its output is what `prediction_type` says.
        alphas_cumprod: (T,) alpha_bar of the scheduler, falling; points between two steps go to the nearer one.
        prediction_type: "epsilon", "v_prediction" or "sample", as diffusers calls them.

    Source of v = sqrt(alpha_bar) e - sqrt(1 - alpha_bar) x_0: Salimans and Ho 2022, arXiv:2202.00512.
    """

    network: Callable[[Tensor, Tensor], Tensor]
    alphas_cumprod: np.ndarray = field(repr=False)
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTIONS:
            raise ValueError(
                f"prediction_type: expected one of {PREDICTIONS}, got {self.prediction_type!r}; "
                "read it from the scheduler's config"
            )

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return e, whatever the network predicts."""
        schedule = np.asarray(self.alphas_cumprod, dtype=np.float64)
        step = int(np.abs(schedule - alpha_bar).argmin())
        output = self.network(point, point.new_full((len(point),), step).long())
        if self.prediction_type == "epsilon":
            return output
        signal, noise = schedule[step] ** 0.5, (1 - schedule[step]) ** 0.5
        if self.prediction_type == "v_prediction":
            return noise * point + signal * output
        return (point - signal * output) / noise


def encode_latents(autoencoder: Any, images: Tensor) -> Tensor:
    """Return the latents in which a latent generator works: the posterior mean, shifted, times the scaling factor.

    Args:
        autoencoder: like diffusers' AutoencoderKL: `encode(images).latent_dist.mode()` and a `config` with
            `scaling_factor` (and perhaps `shift_factor`).
        images: (B, C, H, W) in [-1, 1].
    """
    config = autoencoder.config
    shift = getattr(config, "shift_factor", None) or 0.0
    return (autoencoder.encode(images).latent_dist.mode() - shift) * config.scaling_factor


def is_flow_map(pipeline: Any) -> bool:
    """Return whether a pipeline predicts average velocities over whole steps, as distilled flows do."""
    return getattr(pipeline, "duration_encoder", None) is not None


def _average_velocity(
    pipeline: Any, mask: Tensor | None, attributes: dict[str, list]
) -> Callable[[Tensor, float], Tensor]:
    def average(point: Tensor, t: float) -> Tensor:
        embedding = pipeline.encode_conditions(len(point), **attributes)
        return pipeline.predictor(mask, embedding, duration=t)(point, point.new_full((len(point),), 1000 * t))

    return average


def bind(pipeline: Any, mask: Tensor | None = None, **attributes: list[str | None]) -> Denoiser:
    """Return a pipeline as a denoiser under these conditions, one per image of the batch.

    Args:
        pipeline: offers `velocity(sample, t, mask, **attributes)` (t = 0 image, t = 1 noise; noise - image), or
            `predict_noise(sample, step, mask, **attributes)` at integer steps of its scheduler, which then has
            `alphas_cumprod`; on latents if it has a `vae`. A flow map, which has a `duration_encoder`, also offers
            `predictor(mask, encode_conditions(B, **attributes), duration=...)`.
        mask: (B, K, H, W) one-hot, or None.
        attributes: B values each.

    Raises:
        ValueError: the pipeline offers neither.
    """
    if hasattr(pipeline, "velocity"):
        average = _average_velocity(pipeline, mask, attributes) if is_flow_map(pipeline) else None
        return FlowDenoiser(lambda point, t: pipeline.velocity(point, t, mask, **attributes), average)
    if hasattr(pipeline, "predict_noise"):
        schedule = np.asarray(pipeline.scheduler.alphas_cumprod, dtype=np.float64)
        return DiffusionDenoiser(lambda point, step: pipeline.predict_noise(point, step, mask, **attributes), schedule)
    raise ValueError(
        f"pipeline: {type(pipeline).__name__} offers neither velocity(...) nor predict_noise(...); "
        "give a flow or diffusion pipeline, or attack it with the functions for GANs and VAEs"
    )
