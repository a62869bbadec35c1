"""Which known name is near."""

from __future__ import annotations

import pytest

from normfed_common.wording.spelling import meant, sentences


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("componets", "Did you mean components?"),
        ("Patch_PCA", "Did you mean patch-pca?"),
        ("t1w", "Did you mean T1w?"),
        ("moon", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_said_whatever_its_case_and_none_where_none_is_near(name: str, found: str) -> None:
    assert meant(name, ["components", "patch-pca", "T1w"]) == found


def test_sentences_that_say_nothing_leave_no_gap() -> None:
    assert sentences("A.", "", "B.") == "A. B."
