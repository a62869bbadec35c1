"""Why a plan trains nobody, and what can be done."""

from __future__ import annotations

import pytest

from normfed_common.foundation.errors import DatasetError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_server.arms.enough_sites import check_training
from normfed_server.arms.plan import make
from normfed_server.sites.description import SiteDescription


def refused(study: StudyConfig, **train: int) -> str:
    sites = {name: SiteDescription(count, 0, 4, ("WMH",)) for name, count in train.items()}
    with pytest.raises(DatasetError, match="No site can train") as caught:
        check_training(make(study, sites), sites, study)
    return str(caught.value)


def test_the_owner_of_all_scans_is_no_site(study: StudyConfig) -> None:
    assert "are a 0/4. " in refused(study, a=0, pooled=0)


@pytest.mark.parametrize(
    ("normal", "train", "cure"),
    [
        ("controls", 0, "write data.normal: lesion-free-tissue to train on what is normal of patients"),
        ("lesion-free-tissue", 0, "Check data.normal, data.modalities"),
        ("controls", BELOW_MINIMUM, "Too few: check federation.minimum_cohort, 7,"),
    ],
)
def test_what_could_be_changed_fits_the_reason(study: StudyConfig, normal: str, train: int, cure: str) -> None:
    changed = study.model_copy(
        update={
            "data": study.data.model_copy(update={"normal": normal}),
            "federation": study.federation.model_copy(update={"minimum_cohort": 7}),
        }
    )
    said = refused(changed, a=train)
    assert cure in said
    assert ("lesion-free-tissue" in said) == ("lesion-free-tissue" in cure)
