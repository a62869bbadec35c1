"""What a cell of a public dataset's table means, beside what a participants.tsv takes."""

from __future__ import annotations

from pathlib import Path

import downloads
import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError
from normfed_simulation.datasets.values import years


@pytest.mark.parametrize("age", ["0", "0.5", "38.78", "120", "120.1", "-0.1", "-9999", "nan", "inf", "unknown"])
def test_an_age_that_a_public_table_tells_is_one_that_a_participants_table_takes(tmp_path: Path, age: str) -> None:
    root = downloads.touch(tmp_path, ["sub-a/anat/sub-a_T1w.nii.gz"])
    (root / "participants.tsv").write_text(f"participant_id\tsite\tage\nsub-a\there\t{age}\n")
    try:
        taken = read_dataset(root).visits[0].participant.age
    except DatasetError:
        taken = None
    assert years(age) == taken
