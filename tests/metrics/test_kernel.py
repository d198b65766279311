from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics import kernel
from cmrsynth.metrics.kernel import kernel_distance


def _naive(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    within = [np.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_it_equals_a_double_loop(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 1
    expected = _naive(x, y)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(kernel, "_ROWS", 2)  # several blocks give the same
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_it_is_unbiased_so_about_half_the_null_values_are_negative():
    rng = np.random.default_rng(0)
    found = np.array([kernel_distance(rng.normal(size=(100, 16)), rng.normal(size=(100, 16))) for _ in range(200)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert 0.3 < (found < 0).mean() < 0.75


def test_a_shift_is_seen_and_rotation_changes_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 10)), rng.normal(size=(60, 10)) + 0.5
    rotation = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    assert kernel_distance(x, y) > 0.1
    assert kernel_distance(x @ rotation, y @ rotation) == pytest.approx(kernel_distance(x, y), rel=1e-9)


@pytest.mark.slow  # its import takes seconds; the tests above are independent checks too
def test_it_agrees_with_torchmetrics():
    kid = pytest.importorskip("torchmetrics.image.kid")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6)) * 1.5
    assert kernel_distance(x, y) == pytest.approx(
        float(kid.poly_mmd(torch.from_numpy(x), torch.from_numpy(y))), rel=1e-6
    )


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match="expected two sets"):
        kernel_distance(np.ones((1, 3)), np.ones((4, 3)))
