from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.generation.swap import ATTRIBUTE, REFERENCE, swap_styles
from cmrsynth.models import ConditionEncoder, SpadeGenerator, StyleEncoder
from cmrsynth.pipelines import SpadeGanPipeline


@pytest.fixture(scope="module")
def slices(toy_folder: Path):
    return load_slices(toy_folder, "train")


def gan(vocabularies) -> SpadeGanPipeline:
    parts = SpadeGenerator(16, 4, 8, (8, 8)), StyleEncoder(8, (8, 8)), ConditionEncoder(8, vocabularies=vocabularies)
    generator = torch.Generator().manual_seed(0)
    for parameter in [p for part in parts for p in part.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    pipe = SpadeGanPipeline(*(part.eval() for part in parts))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_look_is_asked_for_by_name_and_by_reference(slices) -> None:
    vendors = sorted(set(slices.vendor.tolist()))
    styles = swap_styles(gan({"vendor": vendors}), slices, sampling={"temperature": 0.5}, seed=0)
    assert list(styles) == [ATTRIBUTE, REFERENCE]
    for make in styles.values():
        images = make(slices, vendors[0])
        assert images.shape == slices.images.shape
        assert np.array_equal(images, make(slices, vendors[0]))
        assert not np.array_equal(images, make(slices, vendors[-1]))
        # a slice's image does not depend on its company
        assert np.allclose(make(slices.select([3]), vendors[0])[0], images[3], atol=1e-5) or make is styles[REFERENCE]


def test_a_model_that_was_not_told_the_vendors_can_only_be_shown_them(slices, tiny_flow) -> None:
    assert list(swap_styles(gan({"phase": ["ED", "ES"]}), slices, sampling={}, seed=0)) == [REFERENCE]
    assert list(swap_styles(tiny_flow(vocabularies={"vendor": ["A"]}), slices, sampling={}, seed=0)) == [ATTRIBUTE]
    with pytest.raises(InputError, match="not told the vendors"):
        swap_styles(tiny_flow(), slices, sampling={}, seed=0)
