"""Conditions may be missing one by one; scalars order and tell apart; what the model does not know is refused."""

from __future__ import annotations

import pytest
import torch

from cmrsynth.models import ConditionEncoder

VOCABULARIES = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}


@pytest.fixture
def encoder() -> ConditionEncoder:
    made = ConditionEncoder(8, VOCABULARIES, {"ejection_fraction": (55.0, 10.0)}, text_dim=3)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return made


def test_rows_hold_indices_standard_scores_and_text(encoder: ConditionEncoder) -> None:
    rows = encoder.encode(2, vendor=["B", None], ejection_fraction=[65.0, None], text=torch.ones(2, 3))
    assert rows[0].tolist() == [0.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    assert rows[1, :2].tolist() == [0.0, 0.0]
    assert rows[1, 2].isnan()
    assert encoder.names == ["phase", "vendor", "ejection_fraction", "text"]
    assert encoder.condition_of_column.tolist() == [0, 1, 2, 3, 3, 3]
    assert encoder.missing[:2].tolist() == [0.0, 0.0]
    assert encoder.missing[2:].isnan().all()


def test_each_condition_moves_the_embedding_by_itself(encoder: ConditionEncoder) -> None:
    nothing = encoder(encoder.encode(1))
    given = {"vendor": "A", "phase": "ES", "ejection_fraction": 40.0, "text": torch.randn(1, 3)}
    moves = {name: encoder(encoder.encode(1, **{name: value})) - nothing for name, value in given.items()}
    assert all(move.abs().max() > 0.01 for move in moves.values())
    torch.testing.assert_close(encoder(encoder.encode(1, **given)), nothing + sum(moves.values()))


def test_near_scalars_are_told_apart_and_lie_near(encoder: ConditionEncoder) -> None:
    def at(value: float) -> torch.Tensor:
        return encoder(encoder.encode(1, ejection_fraction=value))

    near, far = (at(50.0) - at(51.0)).norm(), (at(50.0) - at(35.0)).norm()
    assert 0.01 < near < far


def test_gradients_reach_every_parameter(encoder: ConditionEncoder) -> None:
    full = encoder.encode(1, vendor="A", phase="ES", ejection_fraction=40.0, text=torch.randn(1, 3))
    encoder(torch.cat([full, encoder.encode(1)])).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vendor": "C"}, "unknown vendor 'C'"),
        ({"age": 60.0}, "not conditioned on"),
        ({"vendor": ["A"]}, "1 values for a batch of 2"),
    ],
)
def test_what_the_model_does_not_know_is_refused(encoder: ConditionEncoder, values, message) -> None:
    with pytest.raises(ValueError, match=message):
        encoder.encode(2, **values)


def test_prompts_need_a_model_trained_with_them() -> None:
    with pytest.raises(ValueError, match="without prompts"):
        ConditionEncoder(8, VOCABULARIES).encode(1, text=torch.ones(1, 3))


def test_it_comes_back_from_disk(encoder: ConditionEncoder, tmp_path) -> None:
    encoder.save_pretrained(tmp_path)
    again = ConditionEncoder.from_pretrained(tmp_path)
    rows = encoder.encode(1, vendor="A", ejection_fraction=60.0)
    assert torch.equal(again.encode(1, vendor="A", ejection_fraction=60.0).nan_to_num(), rows.nan_to_num())
    assert torch.equal(again(rows), encoder(rows))


def test_prompts_of_another_number_than_the_images_are_refused() -> None:
    encoder = ConditionEncoder(8, text_dim=4)
    with pytest.raises(ValueError, match="3 prompts for a batch of 2"):
        encoder.encode(2, text=torch.zeros(3, 4))


class OneHotText(torch.nn.Module):
    """A text model that says nearly the same of every prompt: 10 everywhere, but for the place of its first letter."""

    device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor) -> object:
        return type("Output", (), {"pooler_output": 10.0 + 0.1 * torch.eye(3)[input_ids[:, 0]]})


class Letters:
    """A tokenizer of single letters."""

    model_max_length = 5

    def __call__(self, prompts: list[str], return_tensors: str = "", padding: str = ""):
        ids = [[ord(prompt[0]) - ord("a")] for prompt in prompts]
        if not return_tensors:
            return {"input_ids": ids}
        return type("Tokens", (dict,), {"to": lambda self, device: self})(input_ids=torch.tensor(ids))


def test_prompts_that_are_nearly_the_same_are_standardised_by_those_of_training(tmp_path) -> None:
    encoder, parts = ConditionEncoder(8, text_dim=3), (OneHotText(), Letters())
    raw = encoder.encode_prompt(["a", "b"], *parts)
    assert raw.tolist() == [pytest.approx([10.1, 10, 10]), pytest.approx([10, 10.1, 10])]
    learned = encoder.learn_text(raw)
    expected = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])  # the last never differed, and stays as it is
    torch.testing.assert_close(learned, expected, rtol=0, atol=1e-4)
    encoder.save_pretrained(tmp_path)
    again = ConditionEncoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode_prompt(["a", "b"], *parts), learned)
