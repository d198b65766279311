"""The perfect memoriser: what a denoiser becomes that has learned its training images by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Memoriser:
    """The exact minimiser of the training loss on a finite set: it denoises towards the images it has seen.

    The predicted image is the posterior mean over the members, sum_i softmax(-|x - sqrt(a) x_i|^2 / (2 (1 - a))) x_i.
    Nothing is trained, so it shows at no cost what an attack says of total memorisation.

    Args:
        members: (N, C, H, W) in [-1, 1].

    Source: the optimal denoiser of an empirical distribution, e.g. Karras et al. 2022, arXiv:2206.00364, appendix B.3.
    """

    def __init__(self, members: Tensor) -> None:
        self.members = members.flatten(1).double()  # squared distances cancel; float32 loses them near the image
        self._norms = self.members.square().sum(1)

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return e, (B, C, H, W), at the points x_t."""
        flat = point.flatten(1).double()
        closeness = alpha_bar**0.5 * flat @ self.members.T - alpha_bar * self._norms / 2  # |x|^2 is the same for all
        image = (closeness / (1 - alpha_bar)).softmax(1) @ self.members
        noise = (flat - alpha_bar**0.5 * image) / (1 - alpha_bar) ** 0.5
        return noise.reshape(point.shape).to(point.dtype)
