"""A person's visits are opened when they are looked at, and not before."""

from __future__ import annotations

import numpy as np
from synthetic import People

from normfed_common.learning.cohort import Scan, Visits


def test_a_visit_is_opened_when_it_is_looked_at() -> None:
    people, opened = People(3), []

    def opening(number: int) -> Scan:
        opened.append(number)
        return people.scan(number)

    visits = Visits([lambda number=number: opening(number) for number in range(3)])  # type: ignore[misc]
    assert (len(visits), opened) == (3, [])
    np.testing.assert_array_equal(visits[-1].images, people.scan(2).images)
    assert opened == [2]
    earlier = visits[:2]
    assert isinstance(earlier, Visits)
    assert (len(earlier), opened) == (2, [2])
    assert [scan.person.index for scan in earlier] == [0, 1]
