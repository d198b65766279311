from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.holm import holm


def test_the_textbook_example():
    # three structures: 3 x .01, then 2 x .03, then the running maximum
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02]), [0.02])


def test_the_order_of_the_input_is_kept_and_does_not_matter():
    p = np.random.default_rng(0).uniform(size=9)
    turned = np.random.default_rng(1).permutation(9)
    np.testing.assert_array_equal(holm(p)[turned], holm(p[turned]))
    assert (holm(p) >= p).all()


def test_it_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(size=20) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1], atol=1e-12)


def test_a_structure_that_was_not_tested_does_not_count():
    np.testing.assert_array_equal(holm([0.01, np.nan, 0.03]), [0.02, np.nan, 0.03])


@pytest.mark.parametrize("wrong", [[0.1, 1.2], [-0.1], [[0.1]], [np.inf]])
def test_what_is_no_list_of_p_values_is_refused(wrong):
    with pytest.raises(ValueError, match="p-values"):
        holm(wrong)


def test_it_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(0)
    alarms = [(holm(rng.uniform(size=3)) < 0.05).any() for _ in range(4000)]
    assert 0.04 < np.mean(alarms) < 0.06
