"""How much is called abnormal beside how much is lesion."""

from __future__ import annotations

import pytest
from compared import metrics
from run_results import run_results

from normfed_server.report.headline import headline
from normfed_server.results.volumes import Volume, Volumes

WHOLE = "At the run's threshold it calls 12.0 ml of a brain abnormal; the lesions have 5.00 ml (medians)"


@pytest.mark.parametrize(
    ("called_ml", "expected"),
    [
        (2.9, f"{WHOLE}."),
        (3.0, f"{WHOLE}; at b 3.00 ml where they have 1.00 ml: most of that is false."),  # two thirds at least
        (150.0, f"{WHOLE}; at b 150.0 ml where they have 1.00 ml: most of that is false."),
    ],
)
def test_a_site_at_which_most_of_what_is_called_abnormal_is_no_lesion_is_named(called_ml: float, expected: str) -> None:
    """Half of the lesions were touched, and nothing said that a tenth of the brain was marked."""
    sites = {"a": Volume(lesion_ml=9.0, called_ml=20.0), "b": Volume(lesion_ml=1.0, called_ml=called_ml)}
    results = run_results(**metrics()).with_volumes(Volumes(Volume(lesion_ml=5.0, called_ml=12.0), sites))
    assert expected in headline(results)


def test_of_one_site_the_whole_says_it_and_without_patients_nothing_does() -> None:
    alone = Volume(lesion_ml=5.0, called_ml=15.0)
    results = run_results(**metrics()).with_volumes(Volumes(alone, {"a": alone}))
    text = "At the run's threshold it calls 15.0 ml of a brain abnormal; the lesions have 5.00 ml (medians)"
    assert f"{text}: most of that is false." in headline(results)
    assert not any("abnormal" in sentence for sentence in headline(run_results(**metrics())))
