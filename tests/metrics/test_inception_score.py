from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.inception_score import inception_score


def test_the_same_guess_for_every_image_scores_one():
    assert inception_score(np.full((40, 8), 1 / 8)) == (pytest.approx(1), pytest.approx(0))
    assert inception_score(np.tile([0.9, 0.1, 0.0], (40, 1)))[0] == pytest.approx(1)


def test_sure_and_even_guesses_score_the_number_of_classes():
    assert inception_score(np.tile(np.eye(7), (3, 1)), splits=1)[0] == pytest.approx(7)


def test_it_is_at_most_the_images_of_a_split():
    mean, _ = inception_score(np.eye(40), splits=10)
    assert mean == pytest.approx(4)


def test_order_and_names_of_classes_do_not_matter_to_the_whole():
    p = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 50)
    expected = inception_score(p, splits=1)[0]
    assert inception_score(p[::-1], splits=1)[0] == pytest.approx(expected)
    assert inception_score(p[:, ::-1], splits=1)[0] == pytest.approx(expected)
    assert inception_score(p, seed=0) != inception_score(p, seed=1)


@pytest.mark.slow  # the import takes seconds; the closed forms above are independent checks
def test_it_agrees_with_torchmetrics():
    torch = pytest.importorskip("torch")
    inception = pytest.importorskip("torchmetrics.image.inception")
    logits = np.random.default_rng(1).normal(size=(60, 9)) * 2

    class Fixed(torch.nn.Module):
        def forward(self, images):
            return torch.from_numpy(logits[images[:, 0, 0, 0].long().numpy()])

    theirs = inception.InceptionScore(feature=Fixed(), splits=1)
    theirs.update(torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert inception_score(p, splits=1)[0] == pytest.approx(float(theirs.compute()[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (np.full((19, 4), 0.25), "two images a split"),
        (np.random.default_rng(0).normal(size=(40, 4)), "logits"),
        (np.full((40, 4), np.nan), "sum to 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(p, said):
    with pytest.raises(ValueError, match=said):
        inception_score(p)
