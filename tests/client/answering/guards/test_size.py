"""All arrays of a message together have a size, either way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jobs import hospital, job

from normfed_client.answering.guards.size import Size
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.wire.answers import Answer, Summed
from normfed_common.wire.requests import Sums

LARGEST = {"w": np.zeros(100, np.float64), "n": np.zeros(200, np.int8)}
LARGER = LARGEST | {"one more": np.zeros(1, np.int8)}
ASKED, ANSWER = Sums(phase="moments"), Answer(site="a", payload=Summed())


def test_a_message_as_large_as_allowed_passes_either_way(tmp_path: Path) -> None:
    guard, asked = Size(hospital(tmp_path, largest_message_mb=0.001)), job(tmp_path, ASKED, LARGEST)
    guard.inbound(asked)
    assert guard.outbound(asked, ANSWER, LARGEST) == (ANSWER, LARGEST)


@pytest.mark.parametrize("outward", [False, True])
def test_a_larger_message_passes_neither_way(tmp_path: Path, outward: bool) -> None:
    guard, asked = Size(hospital(tmp_path, largest_message_mb=0.001)), job(tmp_path, ASKED, LARGER)
    with pytest.raises(SiteError) as caught:
        guard.outbound(asked, ANSWER, LARGER) if outward else guard.inbound(asked)
    assert caught.value.code is SiteCode.TOO_MUCH_ASKED
    assert caught.value.detail.startswith("largest_message_mb: ")
