"""An encoder of the look of a slice.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

from collections.abc import Sequence
from itertools import pairwise

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 4  # positions per side at which the look is read off


class StyleEncoder(ModelMixin, ConfigMixin):
    """Tell the style of a slice as a normal distribution.

    Args:
        style_dim: S, length of the style.
        block_out_channels: channels of the strided convolutions, each of which halves the resolution.

    Source: the image encoder of Park et al. 2019, arXiv:1903.07291, appendix A, re-implemented; without instance
    norm, which would remove brightness and contrast, the very things that tell vendors apart.
    """

    @register_to_config
    def __init__(self, style_dim: int = 64, block_out_channels: Sequence[int] = (24, 48, 96, 192)) -> None:
        super().__init__()
        channels = (1, *block_out_channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.to_distribution = nn.Linear(channels[-1] * GRID**2, 2 * style_dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, both (B, S), for images (B, 1, H, W) in [-1, 1]."""
        for convolution in self.convolutions:
            image = F.leaky_relu(convolution(image), 0.2)
        mean, log_variance = self.to_distribution(F.adaptive_avg_pool2d(image, GRID).flatten(1)).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 10)  # beyond these a draw or the divergence would overflow in bfloat16
