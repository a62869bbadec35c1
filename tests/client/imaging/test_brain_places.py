"""Places of the template in words, at places that any atlas of the MNI152 brain shows."""

from __future__ import annotations

import pytest

from normfed_client.imaging.brain_places import in_words


@pytest.mark.parametrize(
    ("place_mm", "tissue", "words"),
    [
        ((-16, 32, 12), "white", "left periventricular white matter, anterior, middle"),  # before the frontal horn
        ((22, -20, 24), "white", "right periventricular white matter, central, middle"),  # beside the body
        ((-22, -30, 44), "white", "left deep white matter, central, superior"),  # centrum semiovale
        ((-40, -80, 0), "white", "left white matter beside grey matter, posterior, middle"),  # occipital
        ((-52, -20, -26), "grey", "left grey matter, central, inferior"),  # temporal
        ((-8, 20, 8), "fluid", "left lateral ventricle, anterior, middle"),
        ((2, 60, 10), "rim", "midline surface of the brain, anterior, middle"),
        ((0, -60, -30), "grey", "midline grey matter, posterior, inferior"),  # the vermis
        ((0, 0, 5), "fluid", "midline fluid, central, middle"),
    ],
)
def test_a_place_in_words(place_mm: tuple[float, float, float], tissue: str, words: str) -> None:
    assert in_words(place_mm, tissue) == words


def test_a_place_beyond_the_template_has_words_as_well() -> None:
    assert in_words((300, 300, 300), "rim") == "right surface of the brain, anterior, superior"


def test_left_and_right_mirror_each_other() -> None:
    """The template is symmetric."""
    for place in ((26.0, -40.0, 30.0), (30.0, 20.0, 20.0), (14.0, 50.0, -10.0)):
        left = in_words((-place[0], *place[1:]), "white")
        assert left == in_words(place, "white").replace("right", "left")
