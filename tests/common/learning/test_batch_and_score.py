"""A batch stays what it is on the CPU; a score's maps have names and one shape."""

from __future__ import annotations

from typing import Any

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


PERSON = torch.zeros(5, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("data", "person", "sentence"),
    [
        ({"x": np.zeros((5, 2))}, PERSON, "x of a batch is a ndarray; it must be a tensor"),
        ({"x": torch.zeros(5, 2)}, PERSON.numpy(), "person of a batch is a ndarray"),
        ({"x": torch.zeros(5, 2)}, PERSON[:, 0], r"of shape \(5,\); it must be int64 of shape \(samples, people"),
        ({"x": torch.zeros(5, 2)}, PERSON.float(), r"person of a batch is torch.float32 of shape \(5, 1\)"),
        ({"x": torch.zeros(2, 5)}, PERSON, r"x of a batch has shape \(2, 5\); its first axis must be over the 5"),
        ({"x": torch.zeros(())}, PERSON, r"x of a batch has shape \(\)"),
    ],
    ids=["an array", "people as an array", "one person flat", "people as floats", "other samples", "no samples"],
)
def test_a_batch_of_anything_but_tensors_over_its_samples_is_refused(data: Any, person: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Batch(data, person)


def test_a_batch_s_first_samples_and_each_by_itself_are_batches() -> None:
    batch = Batch({"x": torch.arange(10.0).view(5, 2), "y": torch.arange(5)}, PERSON)
    first = batch.first(2)
    assert torch.equal(first.data["x"], batch.data["x"][:2])
    assert torch.equal(first.person, PERSON[:2])
    alone = batch.apart()
    assert [len(one) for one in alone] == [1] * 5
    for name, tensor in batch.data.items():
        assert torch.equal(torch.cat([one.data[name] for one in alone]), tensor)
    assert torch.equal(torch.cat([one.person for one in alone]), PERSON)


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
