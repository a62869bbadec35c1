"""What is usual before anybody's scan is looked at follows from the study alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic import setting

from normfed_common.models.voxelwise.usual import PERCENTILES, UNKNOWN, usual


@pytest.mark.parametrize("values", [(-5.0, 5.0), (-5.0, 8.0), (-1.0, 1.0)])
def test_deviations_are_around_0_whatever_they_are_clipped_to(values: tuple[float, float]) -> None:
    assert usual(replace(setting(), value_range=values), "study") == [UNKNOWN["z-score"]] * 2


@pytest.mark.parametrize("values", [(0.0, 2.0), (-0.2, 3.0)])
def test_percentiles_are_those_of_the_tissues(values: tuple[float, float]) -> None:
    where = replace(setting(), value_range=values)
    assert usual(where, "study") == [PERCENTILES[name] for name in where.modalities]
