"""The conditions of every generator beside its mask: attributes, scalars and a text prompt, as one embedding.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

FREQUENCIES = 16  # of the sinusoidal embedding of a scalar


class ConditionEncoder(ModelMixin, ConfigMixin):
    """Embed what is known about a slice; every condition may be missing, by itself or with the others.

    Conditions travel as one row of numbers per image, made by `encode`: the index of each attribute's value (0 = not
    given), each scalar in standard deviations from its mean (NaN = not given), and the text embedding (NaN = not
    given). So they can be batched, withheld in training (`missing`, `condition_of_column`) and saved like any tensor.

    Args:
        embedding_dim: D of the embedding.
        vocabularies: attribute name to its known values, in the order of their indices 1, 2, ...
        scalars: scalar name to (mean, standard deviation) over the training data, e.g. ejection_fraction in %.
        text_dim: length of the text embedding; 0 for a model without prompts.

    Source: sinusoidal embedding after Vaswani et al. 2017, arXiv:1706.03762; learned "not given" embeddings after
    Ho and Salimans 2022, arXiv:2207.12598.
    """

    @register_to_config
    def __init__(
        self,
        embedding_dim: int = 384,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        scalars: Mapping[str, Sequence[float]] | None = None,
        text_dim: int = 0,
    ) -> None:
        super().__init__()
        words = sorted((vocabularies or {}).items())  # sorted, because a saved configuration is: columns must not move
        self.tables = nn.ModuleDict({name: nn.Embedding(len(values) + 1, embedding_dim) for name, values in words})
        self.scalar_projections = nn.ModuleDict(
            {name: nn.Linear(2 * FREQUENCIES, embedding_dim) for name in sorted(scalars or {})}
        )
        self.text_projection = nn.Linear(text_dim, embedding_dim) if text_dim else None
        # attributes need none: their index 0 is "not given"
        unknowable = [*self.scalar_projections, *(["text"] if text_dim else [])]
        self.not_given = nn.ParameterDict({name: nn.Parameter(torch.zeros(embedding_dim)) for name in unknowable})
        self.bias = nn.Parameter(torch.zeros(embedding_dim))  # so that a model without conditions has weights to save
        for table in self.tables.values():
            nn.init.normal_(table.weight, std=0.02)

    @property
    def names(self) -> list[str]:
        """The conditions this model takes, in the order of their columns; the prompt is called "text"."""
        return [*self.tables, *self.scalar_projections, *(["text"] if self.config.text_dim else [])]

    @property
    def condition_of_column(self) -> Tensor:
        """(C,) int64: which of `names` each column of a row belongs to."""
        widths = [1] * (len(self.tables) + len(self.scalar_projections))
        widths += [self.config.text_dim] if self.config.text_dim else []
        return torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths, dtype=torch.long))

    @property
    def missing(self) -> Tensor:
        """(C,) float32: the row in which nothing is given."""
        gaps = len(self.scalar_projections) + self.config.text_dim
        return torch.cat([torch.zeros(len(self.tables)), torch.full((gaps,), math.nan)])

    def encode(
        self,
        batch_size: int,
        *,
        text: Tensor | None = None,
        **values: str | float | Sequence[str | float | None] | None,
    ) -> Tensor:
        """Return (B, C) float32 rows of conditions; what is None, "unknown" or NaN is not given.

        Args:
            batch_size: B.
            text: (B, T) or (1, T) embedding of the prompts, or None.
            values: per attribute or scalar one value for the whole batch, or B of them.

        Raises:
            ValueError: the model has no such condition, or does not know the value.
        """
        known = [*self.tables, *self.scalar_projections]
        given = {name: value for name, value in values.items() if value is not None}
        if strangers := sorted(set(given) - set(known)):
            raise ValueError(f"this model is not conditioned on {strangers}; it knows {known}")
        if text is not None and not self.config.text_dim:
            raise ValueError("this model was trained without prompts; describe the image by its attributes")
        rows = self.missing.repeat(batch_size, 1)
        for column, name in enumerate(known):
            listed = _as_list(name, given.get(name), batch_size)
            number = self._attribute_index if name in self.tables else self._standardised
            rows[:, column] = torch.tensor([number(name, value) for value in listed], dtype=torch.float32)
        if text is not None:
            rows[:, len(known) :] = text.float().expand(batch_size, -1).to(rows.device)
        return rows

    def _attribute_index(self, name: str, value: str | None) -> float:
        vocabulary = list(self.config.vocabularies[name])
        if value is None or value == "unknown":
            return 0.0
        if value not in vocabulary:
            raise ValueError(f"unknown {name} {value!r}; this model knows {vocabulary}")
        return vocabulary.index(value) + 1.0

    def _standardised(self, name: str, value: float | None) -> float:
        mean, deviation = self.config.scalars[name]
        return math.nan if value is None else (float(value) - mean) / deviation

    def forward(self, conditions: Tensor) -> Tensor:
        """Return the (B, D) embedding of (B, C) rows from `encode`: the sum over conditions."""
        dtype = self.bias.dtype
        total, column = self.bias.expand(len(conditions), -1), 0
        for table in self.tables.values():
            total = total + table(conditions[:, column].long())
            column += 1
        for name, projection in self.scalar_projections.items():
            value = conditions[:, column : column + 1]
            embedded = projection(_sinusoids(value.nan_to_num()).to(dtype))
            total = total + torch.where(value.isnan(), self.not_given[name].to(embedded.dtype), embedded)
            column += 1
        if self.text_projection is not None:
            text = conditions[:, column:]
            embedded = self.text_projection(text.nan_to_num().to(dtype))
            total = total + torch.where(text[:, :1].isnan(), self.not_given["text"].to(embedded.dtype), embedded)
        return total


def _as_list(name: str, value: object, batch_size: int) -> list:
    listed = [value] * batch_size if value is None or isinstance(value, str | int | float) else list(value)
    if len(listed) != batch_size:
        raise ValueError(f"{name} has {len(listed)} values for a batch of {batch_size}; give one, or one per image")
    return listed


def _sinusoids(value: Tensor) -> Tensor:
    """(B, 1) to (B, 2 F): from slow waves, which order the values, to fast ones, which tell near values apart."""
    frequencies = torch.logspace(-1, 1, FREQUENCIES, base=8.0, device=value.device)
    angles = value.float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
