"""A vendor or a pathology that a generator dropped is named, whatever the labels of its images say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.certification.ground import toy_ground
from cmrsynth.certification.planting import only
from cmrsynth.evaluation.figure import GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.missing_values import Kind, missing_value_figures, rarest, share_of


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_ground(tmp_path_factory.mktemp("models"))


def figures_of(toy, synthetic, **parts):
    sets = parts.get("train", toy.train), parts.get("holdout", toy.holdout), synthetic
    return {f.name: f for f in missing_value_figures(*sets, toy.encoder, toy.segmenter, toy.settings)}


def test_real_patients_show_everything(toy) -> None:
    found = figures_of(toy, toy.third)
    assert {figure.verdict for figure in found.values()} == {GOOD}
    assert found["shown_vendor"].value > 0.9
    assert found["shown_vendor"].planted == 0  # what the figure says of held-out images without a vendor


@pytest.mark.parametrize(
    ("attribute", "kept", "missing"),
    [("vendor", "A", "'B'"), ("pathology", "normal", "'thick wall'")],
)
def test_a_missing_value_is_named(toy, attribute, kept, missing) -> None:
    figure = figures_of(toy, only(toy.third, attribute, kept))[f"shown_{attribute}"]
    assert figure.verdict == LOOK
    assert figure.value < 0.2
    assert missing in figure.reading


def test_a_missing_phase_lowers_the_figure(toy) -> None:
    """Phases of toy hearts are hard to tell: the network sees ED in some ES images, on some processors in a tenth."""
    whole, without = (figures_of(toy, part)["shown_phase"] for part in (toy.third, only(toy.third, "phase", "ES")))
    assert without.value < 0.35 < 0.7 < whole.value
    assert "'ED'" in without.reading


def test_labels_of_the_synthetic_set_are_not_believed(toy) -> None:
    one = only(toy.third, "vendor", "A")
    relabelled = replace(one, vendor=np.resize(["A", "B"], len(one)))
    assert figures_of(toy, relabelled)["shown_vendor"].verdict == LOOK


def test_one_known_value_is_not_judged(toy) -> None:
    train = only(toy.train, "vendor", "A")
    figure = figures_of(toy, toy.third, train=train)["shown_vendor"]
    assert figure.verdict == NOT_COMPUTED
    assert "two values" in figure.reading


def test_an_attribute_that_images_do_not_show_is_not_judged(toy) -> None:
    rng = np.random.default_rng(0)
    random = [
        replace(part, vendor=np.repeat(rng.choice(["A", "B"], len(part.patients)), 6))
        for part in (toy.train, toy.holdout)
    ]
    figure = figures_of(toy, toy.third, train=random[0], holdout=random[1])["shown_vendor"]
    assert figure.verdict == NOT_COMPUTED
    assert "would not notice" in figure.reading


def test_the_ratio_is_at_most_one() -> None:
    many, few = np.repeat(["a", "b"], [9, 1]), np.repeat(["a", "b"], [5, 5])
    assert rarest(many, few, [Kind("a"), Kind("b")]) == pytest.approx(0.2)
    assert rarest(few, few, [Kind("a")]) == 1
    assert share_of(Kind("c"), many, few) == 1  # in neither


def test_one_value_in_the_place_of_all_shows_in_what_is_missing_beside_it() -> None:
    """Where only "a" can be told from the rest, a set of nothing but "a" lacks the others."""
    only_a, real = np.repeat("a", 10), np.repeat(["a", "b", "c"], 4)
    assert rarest(only_a, real, [Kind("a")]) == 1
    assert rarest(only_a, real, [Kind("a"), Kind("a", others=True)]) == 0
