"""A batch stays what it is on the CPU; a score's maps have names and one shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from normfed_common.learning.batch import Batch
from normfed_common.learning.score import Score

MAP = np.zeros((2, 3, 4), np.float32)


def test_a_batch_has_as_many_samples_as_people_are_told_of_and_stays_where_it_is_needed() -> None:
    batch = Batch({"x": torch.zeros(5, 2)}, torch.zeros(5, 1, dtype=torch.int64))
    assert len(batch) == 5
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.data["x"].device.type == "meta"
    assert moved.person is batch.person


def test_all_maps_of_a_score_have_a_name() -> None:
    score = Score(MAP, uncertainty=MAP + 1, extras={"first": MAP + 2})
    assert list(score.maps()) == ["anomaly", "uncertainty", "first"]
    assert list(Score(MAP).maps()) == ["anomaly"]


@pytest.mark.parametrize("name", ["", "../x", "a b", "a_b", "x" * 41])
def test_a_map_whose_name_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not of letters and digits"):
        Score(MAP, extras={name: MAP})


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="the map uncertainty has shape"):
        Score(MAP, uncertainty=MAP[0])
