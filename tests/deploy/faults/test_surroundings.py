"""What bits flip in, and what is passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from normfed_common.foundation.files import DAMAGED
from normfed_deploy.faults.surroundings import _flip

SIZE = 100_000  # large enough that with these seeds no two flips cancel


@pytest.mark.parametrize("seed", range(20))
def test_up_to_twenty_bits_flip_in_every_file_that_was_whole(tmp_path: Path, seed: int) -> None:
    passed_over = (tmp_path / f"model{DAMAGED}", tmp_path / ".half-written")
    whole = tmp_path / "model"
    (tmp_path / "folder").mkdir()
    for path in (*passed_over, whole):
        path.write_bytes(bytes(SIZE))
    assert _flip(tmp_path.iterdir(), np.random.default_rng(seed)) == 1
    assert all(path.read_bytes() == bytes(SIZE) for path in passed_over)
    flipped = sum(byte.bit_count() for byte in whole.read_bytes())
    assert len(whole.read_bytes()) == SIZE
    assert 1 <= flipped <= 20
