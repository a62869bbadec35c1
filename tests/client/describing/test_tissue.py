"""Three classes of intensities, beside scikit-learn's k-means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from normfed_client.describing.tissue import three_classes


@pytest.mark.parametrize("parts", [(2000, 5000, 4000), (500, 4000, 6000)])
def test_shares_are_those_of_k_means_and_of_the_tissue(parts: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(mean, 0.05, count) for mean, count in zip((0.2, 0.6, 0.9), parts, strict=True)])
    shares = three_classes(values)
    means = KMeans(3, init=np.array([[0.2], [0.6], [0.9]]), n_init=1).fit_predict(values[:, None])
    np.testing.assert_allclose(shares, np.bincount(means) / len(values), atol=0.005)
    np.testing.assert_allclose(shares, np.array(parts) / len(values), atol=0.01)


def test_a_scale_and_a_shift_of_intensities_change_nothing() -> None:
    values = np.random.default_rng(4).gamma(3, 1, 3000)
    np.testing.assert_allclose(three_classes(5 * values + 40), three_classes(values), atol=0.005)


def test_one_value_alone_is_of_one_class() -> None:
    assert three_classes(np.ones(10)).sum() == 1
