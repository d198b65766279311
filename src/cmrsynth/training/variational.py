"""What the variational families share: a divergence whose weight rises from nothing."""

from __future__ import annotations

from torch import nn

from cmrsynth.training.family import Family
from cmrsynth.training.variational_config import VariationalConfig


class VariationalFamily(Family):
    """A family whose objective has a `kl_weight`, which rises from 0 over the first steps.

    At full weight from the start the encoder learns to say nothing, because the untrained decoder ignores it (Bowman
    et al. 2016, arXiv:1511.06349). Subclasses set `objective` and then call `load_state({"step": 0})`.
    """

    config: VariationalConfig
    objective: nn.Module
    step: int

    def after_step(self) -> None:
        """Raise the weight of the divergence."""
        self.load_state({"step": self.step + 1})

    def state(self) -> dict[str, float]:
        """Return the step that decides the weight of the divergence, and the weight for the log."""
        return {"step": self.step, "kl_weight": self.objective.kl_weight}

    def load_state(self, state: dict[str, float]) -> None:
        """Set the weight of the divergence to that of a step."""
        self.step = int(state["step"])
        rise = min(1.0, self.step / self.config.kl_warmup_steps) if self.config.kl_warmup_steps else 1.0
        self.objective.kl_weight = self.config.kl_weight * rise
