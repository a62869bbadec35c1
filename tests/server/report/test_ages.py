"""Ages of those trained on and tested: what is said where they hardly overlap, and nowhere else."""

from __future__ import annotations

import pytest

from normfed_server.report.ages import Ages

YOUNG = (20.0, 25.0, 30.0, 45.0)


@pytest.mark.parametrize(
    ("trained", "tested", "word"),
    [
        (YOUNG, (60.0, 70.0, 81.0), "older"),
        ((60.0, 70.0, 81.0), YOUNG, "younger"),
        (YOUNG, (28.0, 70.0, 81.0), None),  # 10 of 12 pairs: the tested one is older
        (YOUNG, YOUNG, None),
        (YOUNG, (60.0, 70.0), None),  # too few
        ((), (), None),
    ],
)
def test_a_gap_is_said_from_nine_in_ten_pairs_on(
    trained: tuple[float, ...], tested: tuple[float, ...], word: str | None
) -> None:
    said = Ages(trained, tested).sentences()
    assert len(said) == (word is not None)
    assert all(f"are {word} than those whom the model learnt from" in sentence for sentence in said)


def test_the_sentence_names_both_ranges_and_what_follows() -> None:
    assert Ages(YOUNG, (60.0, 70.0, 81.0)).sentences() == [
        "Where ages are known nearly all who were tested (3: 60 to 81 years, median 70) are older than those whom the "
        "model learnt from (4: 20 to 45 years, median 28): what looks abnormal may be their age."
    ]
