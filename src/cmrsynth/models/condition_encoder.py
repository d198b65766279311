"""The conditions of every generator, attributes, scalars, prompt and mask: embedded, checked, and guided by.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

FREQUENCIES = 16  # of the sinusoidal embedding of a scalar


class ConditionEncoder(ModelMixin, ConfigMixin):
    """Embed what is known about a slice; every condition may be missing, by itself or with the others.

    Conditions travel as one row of numbers per image, made by `encode`: the index of each attribute's value (0 = not
    given), each scalar and each number of the text embedding in standard deviations from its mean (NaN = not given).
    So they can be batched, withheld in training (`missing`, `condition_of_column`) and saved like any tensor.

    Every pipeline has this component, so what pipelines share about conditions is here and travels with it: the
    embedding of prompts, the checks of masks and guidance, and classifier-free guidance itself.

    Args:
        embedding_dim: D of the embedding.
        vocabularies: attribute name to its known values, in the order of their indices 1, 2, ...
        scalars: scalar name to (mean, standard deviation) over the training data, e.g. ejection_fraction in %.
        text_dim: length of the text embedding; 0 for a model without prompts.
        text_statistics: "mean" and "std" of the text embedding's numbers over the training prompts, see `learn_text`.
        class_dropout: share of the training masks of which some classes were withheld; at 0 masks must be whole. None
            is not stated.

    Source: sinusoidal embedding after Vaswani et al. 2017, arXiv:1706.03762; learned "not given" embeddings after
    Ho and Salimans 2022, arXiv:2207.12598; one scale per condition after Brooks et al. 2022, arXiv:2211.09800.
    """

    @register_to_config
    def __init__(
        self,
        embedding_dim: int = 384,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        scalars: Mapping[str, Sequence[float]] | None = None,
        text_dim: int = 0,
        text_statistics: Mapping[str, Sequence[float]] | None = None,
        class_dropout: float | None = None,
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
            text: (B, T) or (1, T) embedding of the prompts, from `encode_prompt`, or None.
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
            if len(text) not in (1, batch_size):
                raise ValueError(f"{len(text)} prompts for a batch of {batch_size}; give one, or one per image")
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

    def encode_prompt(
        self, prompt: str | Sequence[str], text_encoder: nn.Module | None, tokenizer: Callable | None
    ) -> Tensor:
        """Return the (B, T) embedding of prompts: the pooled output of a CLIP-type text model, standardised.

        Raises:
            ValueError: there is no text model, or a prompt is longer than it reads.
        """
        if text_encoder is None or tokenizer is None:
            raise ValueError("this model was trained without prompts; describe the image by its attributes")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        lengths, limit = [len(ids) for ids in tokenizer(prompts)["input_ids"]], tokenizer.model_max_length
        if max(lengths) > limit:
            longest = prompts[lengths.index(max(lengths))]
            raise ValueError(f"{longest!r} has {max(lengths)} tokens, and the text model reads {limit}; shorten it")
        tokens = tokenizer(prompts, padding="max_length", return_tensors="pt")
        # standardising would amplify what a lower precision rounds off
        with torch.no_grad(), torch.autocast(text_encoder.device.type, enabled=False):
            output = text_encoder(**tokens.to(text_encoder.device))
        pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
        return self._standardised_text(pooled.float())

    def learn_text(self, embeddings: Tensor) -> Tensor:
        """Standardise prompts by these from now on, and return these standardised.

        Prompts about one kind of image have nearly the same embedding: what tells them apart is a tenth of its length
        or less, and would be learned that much more slowly.

        Args:
            embeddings: (P, T) of the distinct training prompts, from `encode_prompt` before this.
        """
        spread, mean = torch.std_mean(embeddings.double(), dim=0, correction=0)
        self.register_to_config(text_statistics={"mean": mean.tolist(), "std": spread.tolist()})
        return self._standardised_text(embeddings)

    def _standardised_text(self, embeddings: Tensor) -> Tensor:
        if self.config.text_statistics is None:
            return embeddings
        mean, spread = (torch.tensor(self.config.text_statistics[name]).to(embeddings) for name in ("mean", "std"))
        return (embeddings - mean) / torch.where(spread > 0, spread, 1)  # 0: all prompts are the same

    def check_mask(self, mask: Tensor, channels: int, multiple: int) -> None:
        """Raise ValueError unless a mask is one-hot (B, channels, H, W) with sides that are multiples of `multiple`.

        It must be whole, too, where training never withheld single classes.
        """
        if not channels:
            raise ValueError("this model takes no mask; it makes unconditional images (mask=None, batch_size=...)")
        if mask.ndim != 4 or mask.shape[1] != channels:
            raise ValueError(
                f"mask must be one-hot of shape (B, {channels}, H, W), got {tuple(mask.shape)}; "
                "make it with cmrsynth.labels.one_hot(labels) from labels of shape (B, H, W)"
            )
        if any(side % multiple for side in mask.shape[-2:]):
            raise ValueError(f"mask height and width must be multiples of {multiple}, got {tuple(mask.shape[-2:])}")
        if not ((mask == 0) | (mask == 1)).all() or (mask.sum(1) > 1).any():
            raise ValueError(
                "mask must be one-hot: each value 0 or 1, and at most one channel of each pixel 1 (background is "
                "channel 0; where some classes are withheld, so is background)"
            )
        labelled = mask.sum(1).flatten(1)
        if self.config.class_dropout == 0 and (labelled.any(1) & ~labelled.all(1)).any():
            raise ValueError(
                "mask leaves pixels without a class, and this model was trained on whole masks only (class_dropout: 0)"
                "; give all classes, or train with class_dropout"
            )

    @staticmethod
    def check_guidance(scale: float, mask_scale: float | None, condition_dropout: float, mask_channels: int) -> None:
        """Raise ValueError if a model is to be guided by a mask it does not take, or never saw conditions withheld."""
        if mask_scale not in (None, 1.0) and not mask_channels:
            raise ValueError(f"mask_guidance_scale is {mask_scale}, but this model takes no mask; leave it out")
        for name, value in (("guidance_scale", scale), ("mask_guidance_scale", mask_scale)):
            if condition_dropout == 0 and value not in (None, 1.0):
                raise ValueError(
                    f"{name} is {value}, but this model was trained without condition dropout and has no "
                    f"unconditional prediction to guide from; use {name}=1"
                )

    @staticmethod
    def check_control(controlnet: nn.Module | None, scale: float, steps: Sequence[float]) -> None:
        """Raise ValueError if a ControlNet that is not there is to be tuned, or one is to act in no step at all."""
        first, last = steps
        if controlnet is None and (scale, first, last) != (1.0, 0.0, 1.0):
            raise ValueError("control_scale and control_range belong to a ControlNet, and this pipeline has none")
        if not 0 <= first < last <= 1:
            raise ValueError(f"control_range must be two shares of the steps, 0 <= first < last <= 1, got {steps}")

    def predictor(
        self,
        unet: nn.Module,
        mask: Tensor | None,
        embedding: Tensor,
        *,
        duration: Tensor | None = None,
        controlnet: nn.Module | None = None,
        control_scale: float = 1.0,
        latent_factor: int = 1,
    ) -> Callable[..., Tensor]:
        """Return f(point, timestep, with mask?, with conditions?); what depends on the mask alone is done once.

        Args:
            unet: the denoiser.
            mask: (B, K, H, W) one-hot in pixels, or None.
            embedding: (B, D), of this encoder.
            duration: (1, D), of a `DurationEncoder`: no condition, so it is added where those are withheld, too.
            controlnet: gives the mask to a `unet` that takes none.
            control_scale: of the ControlNet's residuals.
            latent_factor: pixels per position of the denoiser's space, along each side.
        """
        network = unet if controlnet is None else controlnet
        nothing = self(self.missing.repeat(len(embedding), 1).to(embedding.device)).to(embedding.dtype)
        if duration is not None:
            embedding, nothing = embedding + duration, nothing + duration
        shown: dict[bool, list[Tensor] | None] = {}
        if mask is None or not network.config.mask_channels:
            shown = {True: None, False: None}
        else:
            mask = F.avg_pool2d(mask.to(unet.device, unet.dtype), latent_factor)
            shown[True] = network.prepare_mask(mask)

        def predict(point: Tensor, timestep: Tensor, with_mask: bool = True, with_conditions: bool = True) -> Tensor:
            condition = embedding if with_conditions else nothing
            if controlnet is None:
                if with_mask not in shown:  # guidance alone asks for it
                    shown[with_mask] = network.prepare_mask(torch.zeros_like(mask))
                return unet(point, timestep, condition=condition, prepared=shown[with_mask]).sample
            residuals = None
            if with_mask and mask is not None and control_scale:
                residuals = controlnet(point, timestep, condition=condition, prepared=shown[True])
                residuals = [control_scale * residual for residual in residuals]
            return unet(point, timestep, condition=condition, residuals=residuals).sample

        return predict

    @staticmethod
    def guided(
        predict: Callable[..., Tensor],
        point: Tensor,
        timestep: Tensor,
        *,
        scale: float,
        mask_scale: float | None,
        with_mask: bool = True,
    ) -> Tensor:
        """Return nothing + scale (conditions - nothing) + mask_scale (mask and conditions - conditions).

        Equal scales, or a scale of 1, spare one of the three network calls.

        Args:
            predict: of `predictor`.
            point: (B, C, H, W).
            timestep: number or (B,).
            scale: of the conditions; 1 follows them as learned.
            mask_scale: of the mask; None is `scale`.
            with_mask: False where a ControlNet does not act.
        """
        mask_scale = scale if mask_scale is None else mask_scale
        full = predict(point, timestep, with_mask, True)
        if scale == mask_scale == 1.0:
            return full
        if scale == mask_scale:
            return torch.lerp(predict(point, timestep, False, False), full, scale)
        without_mask = predict(point, timestep, False, True)
        guided_mask = mask_scale * (full - without_mask)
        if scale == 1.0:
            return without_mask + guided_mask
        return torch.lerp(predict(point, timestep, False, False), without_mask, scale) + guided_mask


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
