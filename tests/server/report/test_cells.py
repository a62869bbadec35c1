"""What stands in the cells of tables: a dash where nothing is known, and never half an interval."""

from __future__ import annotations

import pytest

from normfed_server.report import cells
from normfed_server.results.figures import Difference, Figure


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (None, "–"),
        (Figure(mean=None, sd=None, n=0), "–"),
        (Figure(mean=0.5, sd=None, n=1), "0.500"),
        (Figure(mean=0.5, sd=0.1, n=9), '0.500<br><span class="soft">± 0.100</span>'),
    ],
)
def test_a_figure_has_its_spread_where_it_has_one(figure: Figure | None, shown: str) -> None:
    assert str(cells.figure(figure)) == shown


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (None, "–"),
        (Difference(mean=None, ci95=(None, None)), "–"),
        (Difference(mean=0.1, ci95=(None, None)), "+0.100"),
        (Difference(mean=0.0, ci95=(0.0, 0.0)), "the same"),
        (Difference(mean=0.0001, ci95=(-0.0004, 0.0004)), '0.000<br><span class="soft">within ±0.0005</span>'),
        (Difference(mean=0.0001, ci95=(-0.0004, 0.0005)), '0.000<br><span class="soft">0.000 to +0.001</span>'),
        (Difference(mean=-0.1, ci95=(-0.2, 0.0)), '−0.100<br><span class="soft">−0.200 to 0.000</span>'),
    ],
)
def test_a_difference_has_its_interval_where_it_has_one(found: Difference | None, shown: str) -> None:
    assert str(cells.difference(found)) == shown
