from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.errors import InputError
from cmrsynth.evaluation import reconstruction
from cmrsynth.evaluation.encoder import fit_encoder
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.reconstruction import QUANTISED_DB, reconstruction_figures
from cmrsynth.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=100, floor_draws=3)


def textures(images):
    """Features without a network: mean and spread of the image and of its fine detail in a 2 x 2 grid."""
    detail = images - gaussian_filter(images, (0, 1, 1))
    parts = [np.array_split(row, 2, axis=2) for each in (images, detail) for row in np.array_split(each, 2, axis=1)]
    return np.stack([f((1, 2)) for row in parts for part in row for f in (part.mean, part.std)], axis=1)


@pytest.fixture(autouse=True)
def stand_in_lpips(monkeypatch):
    monkeypatch.setattr(reconstruction, "lpips", lambda x, y: np.abs(x - y).mean((1, 2), dtype=float))


@pytest.fixture(scope="module")
def hearts(toy_set):
    return toy_set("holdout", 12, seed=3)


@pytest.fixture(scope="module")
def encoder(toy_set):
    return fit_encoder("textures", "0" * 64, textures, toy_set("train", 16, seed=2).images)


def figures(hearts, encoder, reconstructions, masks=None):
    found = reconstruction_figures(
        hearts.images, reconstructions, hearts.patient_id, hearts.masks if masks is None else masks, encoder, SETTINGS
    )
    return {figure.name.removeprefix("reconstruction_"): figure for figure in found}


def test_the_identity_loses_nothing(hearts, encoder):
    found = figures(hearts, encoder, hearts.images.copy())
    assert found["frechet"].value == pytest.approx(0, abs=1e-9)
    assert found["frechet"].floor > 0.1
    assert found["psnr"].value == pytest.approx(QUANTISED_DB)
    for name in ("ssim", "ssim_heart", "ms_ssim"):
        assert found[name].value == pytest.approx(1, abs=1e-5)
        assert found[name].floor == 1
    assert {figure.verdict for figure in found.values()} == {GOOD}


def test_rounding_to_8_bits_passes(hearts, encoder):
    found = figures(hearts, encoder, np.rint(hearts.images * 255).astype(np.float32) / 255)
    assert found["psnr"].value == pytest.approx(QUANTISED_DB, abs=0.3)
    assert {figure.verdict for figure in found.values()} == {GOOD}


def test_more_blur_costs_more_and_strong_blur_is_not_to_be_shared(hearts, encoder):
    blurred = [figures(hearts, encoder, gaussian_filter(hearts.images, (0, s, s))) for s in (0.4, 0.5, 2)]
    for name in blurred[0]:
        values = [found[name].value for found in blurred]
        assert values == sorted(values, reverse=name not in ("frechet", "lpips")), name
    assert blurred[1]["frechet"].verdict in (LOOK, DO_NOT_SHARE)
    assert blurred[2]["frechet"].verdict == DO_NOT_SHARE
    assert {blurred[2][name].verdict for name in ("psnr", "ssim", "ssim_heart", "ms_ssim")} == {LOOK}


def test_reconstructions_of_other_images_keep_rfid_and_lose_the_pairs(hearts, encoder):
    found = figures(hearts, encoder, hearts.images[::-1].copy())
    assert found["frechet"].value == pytest.approx(0, abs=1e-9)
    assert found["psnr"].verdict == found["ssim"].verdict == LOOK


def test_lpips_is_computed_where_its_network_is_to_be_had(hearts, encoder, monkeypatch):
    copy = figures(hearts, encoder, hearts.images.copy())["lpips"]
    assert (copy.value, copy.verdict, copy.better) == (0, GOOD, "lower")
    assert figures(hearts, encoder, hearts.images[::-1].copy())["lpips"].verdict == LOOK

    def unavailable(x, y):
        raise ImportError("LPIPS needs torchvision; install the extra cmrsynth[lpips]")

    monkeypatch.setattr(reconstruction, "lpips", unavailable)
    without = figures(hearts, encoder, hearts.images.copy())["lpips"]
    assert without.verdict == NOT_COMPUTED
    assert "cmrsynth[lpips]" in without.reading


def test_every_figure_has_its_interval_over_patients_and_says_what_made_it(hearts, encoder):
    found = figures(hearts, encoder, gaussian_filter(hearts.images, (0, 0.5, 0.5)))
    for figure in found.values():
        low, high = figure.interval
        assert low <= figure.value <= high
        assert figure.n == {"images": 48, "patients": 12}
    assert "textures" in found["frechet"].made_with
    assert found["ms_ssim"].made_with.startswith("2 scales")  # 32 pixels


def test_slices_without_a_heart_are_left_out_of_its_ssim(hearts, encoder):
    masks = hearts.masks.copy()
    masks[:10] = 0
    found = figures(hearts, encoder, hearts.images.copy(), masks)["ssim_heart"]
    assert found.value == pytest.approx(1, abs=1e-5)
    assert found.n == {"images": 38, "patients": 10}
    assert figures(hearts, encoder, hearts.images.copy(), 0 * masks)["ssim_heart"].verdict == NOT_COMPUTED


def test_what_does_not_belong_together_is_refused(hearts, encoder):
    images, masks, patient = hearts.images, hearts.masks, hearts.patient_id
    for bad, said in (
        ((images, images[:-1], patient, masks), "belong together"),
        ((images, images, patient[:-1], masks), "belong together"),
        ((images[:4], images[:4], patient[:4], masks[:4]), "two patients"),
        ((images, images * 255, patient, masks), "outside"),
        ((images, images * np.nan, patient, masks), "outside"),
    ):
        with pytest.raises(InputError, match=said):
            reconstruction_figures(*bad, encoder, SETTINGS)
