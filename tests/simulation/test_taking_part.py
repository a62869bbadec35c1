"""Why a study cannot begin with the people of a dataset, before anything is prepared."""

from __future__ import annotations

from pathlib import Path

import cohorts
import pytest

from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation.errors import DatasetError
from normfed_common.studies import resolve
from normfed_simulation.taking_part import check_plan, roles_of


@pytest.mark.parametrize("lacking", ["healthy", "ill"])
def test_sites_left_out_for_want_of_a_modality_are_named(tmp_path: Path, lacking: str) -> None:
    root = cohorts.write(tmp_path / "data", {"healthy": {"control": 4}, "ill": {"WMH": 4}, "other": {"control": 4}})
    for site in (lacking, "other"):
        for path in root.glob(f"sub-{site}*/anat/*_FLAIR.nii.gz"):
            path.unlink()
    data = {"modalities": ["T1w", "FLAIR"], "exclude": {"other": "not asked"}}
    study = resolve({"name": "s", "model": {"name": "intensity"}, "data": data}, "s")
    dataset = read_dataset(root)
    roles, _ = roles_of(study, dataset)
    with pytest.raises(DatasetError, match=r"^No site can (train|test)") as caught:
        check_plan(study, roles, dataset)
    assert str(caught.value).endswith(f"Left out, for nobody there has all of data.modalities: {lacking} (no FLAIR).")
