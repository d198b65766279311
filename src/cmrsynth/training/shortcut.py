"""What a flow map that takes shortcuts minimises: it agrees with its own smaller steps, and its images look real."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cmrsynth.flow.flow_map import average_of_halves, shortcut_step, step_along
from cmrsynth.flow.rectified import interpolate, logit_normal_time
from cmrsynth.gan.augmentation import DRAWS
from cmrsynth.gan.losses import hinge_generator_loss, per_example
from cmrsynth.gan.texture_loss import texture_loss
from cmrsynth.training.batches import Batch
from cmrsynth.training.family import frozen
from cmrsynth.training.flow_map import FlowMap, Prepared, rows_of, without_gradients
from cmrsynth.training.gan_spade import discriminator_loss, judge


class Adversary:
    """A discriminator of what last steps lead to, and the images it is to judge next.

    Args:
        judging: {"patches", "condition_encoder"}.
        augmentation: of all images it sees.
        weight: of its judgement among the losses of the flow map.
        masks: whether the flow map takes masks; where it does not, the discriminator must not see them either.
    """

    def __init__(self, judging: nn.ModuleDict, augmentation: Callable, weight: float, *, masks: bool = True) -> None:
        self.judging, self.augmentation, self.weight, self.masks = judging, augmentation, weight, masks
        self.made: list[Tensor] = []  # of this step's micro-batches, in their order

    def shown(self, batch: Batch) -> Batch:
        """Return the batch as the discriminator sees it."""
        return batch if self.masks else batch._replace(mask=torch.zeros_like(batch.mask))

    def fooling_loss(self, images: Tensor, batch: Batch) -> Tensor:
        """Return the (B,) losses of images that want to be taken for real, and keep them for the discriminator."""
        self.made.append(images.detach())
        with frozen(self.judging) as judging:
            scales = judge(judging, self.augmentation, images, self.shown(batch))
        return torch.stack([hinge_generator_loss(scale.logits.float()) for scale in scales]).mean(0)


class AdversaryObjective(nn.Module):
    """The hinge losses of the discriminator, of real images and those the flow map has just made.

    Args:
        adversary: whose discriminator learns.
    """

    def __init__(self, adversary: Adversary) -> None:
        super().__init__()
        self.judging, self.adversary = adversary.judging, adversary

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        images = self.adversary.made.pop(0)
        return discriminator_loss(self.judging, self.adversary.augmentation, images, self.adversary.shown(batch))


class ShortcutObjective(nn.Module):
    """Four losses of a flow map from one call of its network.

    Velocities at duration 0 are learned from the data. Longer steps are to lead where two of half their duration do,
    in the manner of Frans et al.; squared errors alone would blur them for as long as training is short. The last of
    1, 2, 4, ... steps of its own, from noise, is therefore judged by a discriminator too, and its
    texture by its distance from the real images'. Both losses are divided by the step's duration, since the same change
    of the velocity moves an image by as much less.

    Args:
        flow_map: learns.
        steps: numbers of sampling steps to be good at, powers of two.
        share: of the batch's examples that learn velocities (half of them) and shortcuts (the other half).
        adversary: None for none.
        texture_weight: of the last steps' texture, see `texture_loss`; it is judged for each number of steps by itself.
        time_mean, time_std: of the logit of the times at which velocities are learned.

    Source: Frans et al. 2024, arXiv:2410.12557; a discriminator of few steps after Kim et al. 2023, arXiv:2310.02279;
    of steps from the model's own points, as in sampling, after Yin et al. 2024, arXiv:2405.14867.
    """

    def __init__(
        self,
        flow_map: FlowMap,
        *,
        steps: Sequence[int] = (1, 2, 4),
        share: float = 0.5,
        adversary: Adversary | None = None,
        texture_weight: float = 0.0,
        time_mean: float = 0.0,
        time_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.flow_map, self.steps, self.share, self.adversary = flow_map, tuple(steps), share, adversary
        self.texture_weight, self.time_mean, self.time_std = texture_weight, time_mean, time_std

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        learning = round(self.share * len(batch.image))
        prepared = self.flow_map.prepare(batch.mask)
        point, t, duration, target = self.consistency(batch, prepared, slice(0, learning))
        rows = torch.arange(learning, device=t.device)
        judged = self.adversary is not None or self.texture_weight > 0
        if judged:
            last, left = self.own_last_step(batch, prepared)
            point, t, duration = torch.cat([point, last]), torch.cat([t, left]), torch.cat([duration, left])
            rows = torch.cat([rows, torch.arange(len(last), device=t.device)])
        velocity = self.flow_map(point, t, duration, rows_of(prepared, rows), batch.conditions[rows])
        errors = per_example((velocity[:learning] - target).square())
        losses = errors.new_zeros(len(batch.image))
        losses[:learning] = errors * len(losses) / max(learning, 1)  # so that the mean is that of the errors
        if not judged:
            return losses
        images = step_along(last, velocity[learning:], left)
        if self.adversary is not None:
            losses = losses + self.adversary.weight * self.adversary.fooling_loss(images, batch) / left
        if self.texture_weight:
            losses = losses + self.texture_weight * self.texture(images, batch) / left
        return losses

    def texture(self, images: Tensor, batch: Batch) -> Tensor:
        """Return for each image (B,) how far the texture of those made in as many steps is from the real ones'."""
        kinds = len(self.steps)
        groups = [texture_loss(images[k::kinds], batch.image[k::kinds], batch.latent) for k in range(kinds)]
        return torch.stack(groups)[torch.arange(len(images), device=images.device) % kinds]

    def consistency(self, batch: Batch, prepared: Prepared, rows: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return points, times, durations and target velocities of some examples: velocities first, then shortcuts."""
        image, noise, uniform = batch.image[rows], batch.noise[rows], batch.uniform[rows]
        t = logit_normal_time(batch.time_normal[rows], mean=self.time_mean, std=self.time_std)
        duration, target = torch.zeros_like(t), noise - image
        cut = slice(len(t) // 2, len(t))
        t[cut], duration[cut] = shortcut_step(uniform[cut, DRAWS : DRAWS + 2], max(self.steps))
        point = interpolate(image, noise, t)
        given = rows_of(prepared, cut), batch.conditions[cut]
        target[cut] = self.two_halves(point[cut], t[cut], duration[cut], *given)
        return point, t, duration, target

    def two_halves(self, point: Tensor, t: Tensor, duration: Tensor, prepared: Prepared, conditions: Tensor) -> Tensor:
        """Return the average velocity of two steps of half the duration, the shortest of them by the velocity."""
        half = duration / 2
        known = torch.where(half * max(self.steps) < 1, 0.0, half)
        with without_gradients():
            first = self.flow_map(point, t, known, prepared, conditions)
            middle = step_along(point, first, half)
            second = self.flow_map(middle, t - half, known, prepared, conditions)
        return average_of_halves(first, second)

    def own_last_step(self, batch: Batch, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Return where 1, 2, 4, ... steps from noise are before the last of them, and its duration (B,)."""
        point = batch.noise.clone()
        steps = torch.tensor(self.steps, device=point.device)[torch.arange(len(point)) % len(self.steps)]
        duration = 1 / steps
        with without_gradients():
            for done in range(max(self.steps) - 1):
                rows = torch.nonzero(steps - done > 1).flatten()
                t, given = 1 - done * duration[rows], (rows_of(prepared, rows), batch.conditions[rows])
                velocity = self.flow_map(point[rows], t, duration[rows], *given)
                point[rows] = step_along(point[rows], velocity, duration[rows])
        return point, duration
