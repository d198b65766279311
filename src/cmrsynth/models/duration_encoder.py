"""The duration of a step, embedded: what turns the velocity of a flow into the average velocity over a whole step.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

from collections.abc import Sequence

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn


class DurationEncoder(ModelMixin, ConfigMixin):
    """Embed how long a step of the flow is, to be added to the embedding of its conditions.

    With it, a denoiser is a flow map: it predicts the average velocity u between the times t and r = t - duration, so
    that x_r = x_t - (t - r) u however long the step; at duration 0 it predicts the velocity itself. The last layer
    begins at zero: an untrained flow map predicts what its denoiser did, at every duration.

    Args:
        embedding_dim: D of the embedding.
        steps: numbers of equal steps from noise to image whose durations were learned.

    Source: the step as a condition after Frans et al. 2024, arXiv:2410.12557; average velocity after Geng et al. 2025,
    arXiv:2505.13447.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 384, steps: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.duration_waves = Timesteps(128, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.duration_embedding = TimestepEmbedding(128, embedding_dim)
        nn.init.zeros_(self.duration_embedding.linear_2.weight)
        nn.init.zeros_(self.duration_embedding.linear_2.bias)

    def learned(self, steps: int) -> float:
        """Return the duration to ask for with this number of equal steps.

        It is 0, the velocity, where they are shorter than any learned: what training takes for such steps as well.
        """
        return 1 / steps if steps <= max(self.config.steps) else 0.0

    def forward(self, duration: Tensor) -> Tensor:
        """Return the (B, D) embedding of durations (B,) in [0, 1]."""
        return self.duration_embedding(self.duration_waves(1000 * duration).to(self.dtype))
