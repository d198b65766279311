from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics import radiomics
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.radiomics import (
    RadiomicFeatures,
    ReferenceScale,
    available_backend,
    frechet_distance_lw,
    frechet_radiomics,
    radiomic_features,
)

# of `phantom()` from pyradiomics 3.0.1 (force2D, binWidth 5, mask of ones less a corner, image standardised to 100)
KNOWN = {
    "firstorder_entropy": 6.208453792499507,
    "firstorder_10percentile": -140.8264896518822,
    "glcm_contrast": 58.035614816101514,
    "glcm_jointentropy": 9.948663435055106,
    "glcm_imc1": -0.4006754292371562,
    "glszm_zoneentropy": 6.8636696949035185,
    "glszm_sizezonenonuniformity": 594.2960760998811,
    "ngtdm_coarseness": 0.034256045804206436,
}


def phantom():
    rows, columns = np.mgrid[:32, :32]
    return (np.sin(rows / 3) * np.cos(columns / 4) + 0.01 * ((rows * 7 + columns * 13) % 11))[None]


def features(values, names=None, backend="stand-in 1"):
    names = names or tuple(f"glcm_{number}" for number in range(values.shape[1]))
    return RadiomicFeatures(np.asarray(values, dtype=float), tuple(names), backend)


def _normal(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.fixture
def stand_in(monkeypatch):
    """A package called fastrad with four features of image and region."""
    seen = []

    class Extractor:
        def __init__(self, settings):
            seen.append(settings)

        def extract(self, image, mask):
            x = image.tensor[0].numpy()[mask.tensor[0].numpy() > 0]
            fine = np.abs(np.diff(image.tensor[0].numpy(), axis=1)).mean()
            return {
                "firstorder:10th_percentile": np.quantile(x, 0.1),
                "glcm:joint_average": fine,
                "glszm:zone_entropy": float(len(x)),
                "firstorder:standard_deviation": x.std(),
            }

    module = ModuleType("fastrad")
    module.FeatureExtractor, module.FeatureSettings = Extractor, lambda **options: SimpleNamespace(**options)
    module.MedicalImage = module.Mask = lambda tensor: SimpleNamespace(tensor=tensor)
    monkeypatch.setitem(sys.modules, "fastrad", module)
    monkeypatch.setattr(radiomics, "version", lambda name: "0.stand-in")
    return seen


def test_a_backend_gets_standardised_images_and_its_names_are_spelt_one_way(stand_in):
    images = _normal(0, 3, 400).reshape(3, 20, 20) * 0.1 + 0.5
    found = radiomic_features(images, backend="fastrad")
    assert found.names == ("firstorder_10percentile", "glcm_jointaverage", "glszm_zoneentropy")
    assert found.backend == "fastrad 0.stand-in"
    np.testing.assert_allclose(found.values[:, 0], -128, atol=15)  # the tenth percentile of a normal, times 100
    assert (found.values[:, 2] == 399).all()  # one corner is background
    assert stand_in[0].bin_width == radiomics.BIN_WIDTH
    assert "glrlm" not in stand_in[0].feature_classes
    brighter = radiomic_features(3 * images + 0.2, backend="fastrad")
    np.testing.assert_allclose(brighter.values, found.values, rtol=1e-9)


def test_a_region_limits_what_is_measured(stand_in):
    images = _normal(0, 2, 400).reshape(2, 20, 20)
    roi = np.zeros(images.shape, bool)
    roi[:, 5:10, 5:10] = True
    assert (radiomic_features(images, roi=roi, backend="fastrad").values[:, 2] == 25).all()


def test_blur_and_noise_move_the_distance_monotonically(stand_in):
    def made(seed, change=lambda x: x):
        textures = gaussian_filter(_normal(seed, 60, 1024).reshape(60, 32, 32), (0, 1, 1))
        return radiomic_features(change(textures / textures.std()), backend="fastrad")

    reference = made(0)

    def blurred(s):
        return made(1, lambda x: gaussian_filter(x, (0, s, s)))

    def noisy(s):
        return made(1, lambda x: x + s * _normal(2, 60, 1024).reshape(x.shape))

    for worsened in (blurred, noisy):
        found = [frechet_radiomics(worsened(s), reference) for s in (0, 0.5, 1, 2)]
        assert [each.squared for each in found] == sorted(each.squared for each in found)
        assert [each.log for each in found] == sorted(each.log for each in found)


def test_equal_sets_are_at_zero_and_have_no_logarithm():
    x = features(_normal(0, 50, 6))
    found = frechet_radiomics(x, x)
    assert found.squared == pytest.approx(0, abs=1e-9)
    assert found.squared_lw == pytest.approx(0, abs=1e-9)
    assert found.log is None


def test_the_reference_alone_sets_the_scale():
    reference, x = _normal(0, 400, 3), _normal(1, 400, 3) + 2
    stretch = np.array([1.0, 1000.0, 1e-4])
    plain = frechet_radiomics(features(x), features(reference))
    stretched = frechet_radiomics(features(x * stretch + 5), features(reference * stretch + 5))
    assert stretched.squared == pytest.approx(plain.squared, rel=1e-6)
    assert plain.log == pytest.approx(np.log(plain.squared))
    scaled = (reference - reference.mean(0)) / reference.std(0, ddof=1)
    other = (x - reference.mean(0)) / reference.std(0, ddof=1)
    assert plain.squared == pytest.approx(frechet_distance(other, scaled), rel=1e-9)
    assert frechet_radiomics(features(2 * reference), features(x)).squared != pytest.approx(
        frechet_radiomics(features(x), features(2 * reference)).squared, rel=0.05
    )


def test_order_of_images_and_of_columns_changes_nothing():
    x, y = _normal(0, 40, 5), _normal(1, 30, 5) * 1.5
    names = tuple("abcde")
    expected = frechet_radiomics(features(x, names), features(y, names)).squared
    turned = features(x[::-1, ::-1], names[::-1])
    assert frechet_radiomics(turned, features(y[::-1], names)).squared == pytest.approx(expected, rel=1e-9)


def test_columns_that_hardly_vary_in_the_reference_are_left_out_and_named():
    reference = np.column_stack([_normal(0, 100, 2), np.ones(100), 1e9 + 1e-3 * _normal(1, 100, 1)])
    reference = np.column_stack([reference, np.r_[np.zeros(90), _normal(2, 10, 1)[:, 0]]])  # nearly always 0
    found = frechet_radiomics(features(_normal(3, 100, 5) + 1), features(reference))
    assert found.columns == ("glcm_0", "glcm_1")
    assert found.dropped == ("glcm_2", "glcm_3", "glcm_4")
    assert found.squared < 10


def test_images_with_an_undefined_feature_are_left_out():
    x, y = _normal(0, 50, 3), _normal(1, 50, 3)
    torn = x.copy()
    torn[7, 1] = np.nan
    expected = frechet_radiomics(features(np.delete(x, 7, 0)), features(y))
    assert frechet_radiomics(features(torn), features(y)) == expected
    assert np.isnan(ReferenceScale.of(features(y)).apply(features(torn))[7]).all()


def test_shrunk_covariances_take_most_of_the_bias_of_few_images():
    d = 64
    plain, shrunk = [], []
    for seed in range(3):
        x, y = _normal(seed, 100, d), _normal(seed + 10, 100, d)
        plain.append(frechet_distance(x, y))
        shrunk.append(frechet_distance_lw(x, y))
    assert np.mean(plain) == pytest.approx(22, abs=2)  # d (d + 5) / (2 n)
    assert np.mean(shrunk) < 0.15 * np.mean(plain)
    many = _normal(5, 4000, 4), _normal(6, 4000, 4) @ np.diag([1, 2, 3, 4]) + 1
    assert frechet_distance_lw(*many) == pytest.approx(frechet_distance(*many), rel=0.02)


@pytest.mark.parametrize("backend", ["pyradiomics", "fastrad"])
def test_a_real_package_gives_the_known_values(backend):
    pytest.importorskip(radiomics._MODULES[backend])
    found = radiomic_features(phantom(), backend=backend)
    values = dict(zip(found.names, found.values[0], strict=True))
    assert {name: values[name] for name in KNOWN} == pytest.approx(KNOWN, rel=1e-6)
    assert len(found.names) == {"pyradiomics": 79, "fastrad": 63}[backend]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: radiomic_features(np.zeros((2, 20, 20)), backend="fastrad"), "not constant"),
        (lambda: radiomic_features(phantom(), backend="other"), "backend"),
        (lambda: radiomic_features(phantom(), roi=np.zeros((1, 32, 32)), backend="fastrad"), "16 pixels"),
        (lambda: ReferenceScale.of(features(np.ones((5, 3)))), "no feature varies"),
        (lambda: ReferenceScale.of(features(np.full((5, 3), np.nan))), "fewer than two"),
        (lambda: frechet_radiomics(features(_normal(0, 5, 2)), features(_normal(1, 5, 3))), "are missing"),
        (lambda: frechet_distance_lw(np.ones((1, 3)), np.ones((5, 3))), "two sets"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_without_a_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(radiomics, "find_spec", lambda name: None)
    assert available_backend() is None
    with pytest.raises(ImportError, match=r"cmrsynth\[radiomics\]"):
        radiomic_features(phantom())
