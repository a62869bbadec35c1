"""What is the same of a model whatever its weights are: it is worked out once for all requests about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from normfed_client.hospital.site import Site
from normfed_common.algorithms.private_training import scores_with_people
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.learning.phase import Phase


@dataclass(frozen=True)
class Outline:
    """A model of a study under a strategy.

    Parameters
    ----------
    personal
        Names of its arrays that stay at the site.
    scores_with_people
        Whether a site scores with what it learnt of its people without noise.
    """

    phases: tuple[Phase, ...]
    personal: frozenset[str]
    scores_with_people: bool


def outline_of(site: Site, model: Mapping[str, Any], strategy: Mapping[str, Any]) -> Outline:
    """The outline of a model by its entries in the study of a site.

    Raises
    ------
    StudyError
        If the strategy keeps parts that the model does not have.
    """
    return _outline(site, json.dumps([model, strategy], sort_keys=True))


@lru_cache(maxsize=64)
def _outline(site: Site, entries: str) -> Outline:
    entry, strategy = json.loads(entries)
    model = site.model(entry, site.study.seed)
    personal = personal_arrays(model, strategy)
    return Outline(tuple(model.phases()), personal, scores_with_people(model, strategy, personal))
