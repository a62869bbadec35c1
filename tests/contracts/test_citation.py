"""Everything that a study can name says whom a paper cites for it, or that it is elementary, or ours."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.citations.bibliography import ELEMENTARY, entries, key_of
from normfed_common.foundation.registry import Registry
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_simulation.datasets.catalogue import DATASETS
from normfed_simulation.splits.catalogue import SPLITS

REGISTRIES: tuple[Registry[Any], ...] = (MODELS, SCORERS, TRANSFORMS, ALGORITHMS, DATASETS, SPLITS)
EVERYTHING = {
    **{f"{kind.kind} {name}": kind[name] for kind in REGISTRIES for name in kind if kind.origin(name) is None},
    **{f"metric {metric.name}": metric for metric in BUILT_IN},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_it_names_entries_of_the_bibliography_or_that_it_is_elementary(name: str) -> None:
    cited = EVERYTHING[name].cited
    assert cited
    assert isinstance(cited, tuple)
    assert {key_of(one) for one in cited} <= {*entries(), ELEMENTARY}
