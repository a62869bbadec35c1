"""Which models of a study learn from this site or are tested here, by the names that a server asks about them with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from normfed_client.consent.manifest import OTHERS, Arms
from normfed_client.consent.stand_in import setting_of
from normfed_common.algorithms.arms import (
    FEDERATED,
    LOCAL,
    WITHOUT,
    baselines,
    compressed,
    other_strategies,
    repeated,
    trainings,
)
from normfed_common.algorithms.sharing import needs_every_part
from normfed_common.foundation import digests
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN, Compression


@dataclass(frozen=True)
class Planned:
    """Models of the study that are trained alike, by their arms' names, and where this site tests them.

    Parameters
    ----------
    trained
        Of those that learn from this site.
    full, ranking
        Of those tested here, and how thoroughly.
    """

    model: dict[str, Any]
    strategy: dict[str, Any]
    compression: Compression = "none"
    trained: Arms = field(default_factory=dict)
    full: Arms = field(default_factory=dict)
    ranking: Arms = field(default_factory=dict)
    baseline: bool = False

    @property
    def whose(self) -> str:
        """Digest of what a request about it names."""
        return key_of(self.model, self.strategy)

    @property
    def title(self) -> str:
        """``siamese by fedavg``; a baseline's name alone."""
        return str(self.model["name"]) if self.baseline else f"{self.model['name']} by {self.strategy['name']}"


def key_of(model: Mapping[str, Any], strategy: Mapping[str, Any]) -> str:
    """Digest of the entries of a study that a request names."""
    return digests.of_json([model, strategy])


def planned(study: StudyConfig, own: str) -> Iterable[Planned]:
    """What `normfed_server.arms.plan` makes of a study, from the side of the site called ``own``."""
    beside, compression = study.comparisons, study.federation.compression
    main = Planned(study.model, study.strategy, compression)
    found = [replace(main, trained={FEDERATED: 0}, full={FEDERATED: 0})]
    for name, strategy in other_strategies(study).items():
        found.append(replace(main, strategy=strategy, trained={name: 0}, ranking={name: 0}))
    for kind in beside.compressions:
        name = compressed(study, kind)
        found.append(replace(main, compression=kind, trained={name: 0}, ranking={name: 0}))
    if beside.leave_one_site_out:
        found.append(replace(main, trained={WITHOUT + OTHERS: None}, ranking={WITHOUT + own: 0}))
    if beside.local and study.privacy.secure_aggregation is None:
        model = assemble(study.transforms, study.model, setting_of(study))
        others: Arms = {} if needs_every_part(model, PLAIN) else {LOCAL + OTHERS: None}
        found.append(Planned(study.model, PLAIN, "none", {LOCAL + own: 0}, {LOCAL + own: 0}, others))
    again = range(1, trainings(study))
    for one in found:
        trained, tested = (_again(arms, again) for arms in (one.trained, {**one.full, **one.ranking}))
        yield replace(one, trained={**one.trained, **trained}, ranking={**one.ranking, **tested})
    for name, entry in baselines(study).items():
        yield Planned(entry, PLAIN, "none", {name: 0}, {name: 0}, baseline=True)


def _again(arms: Arms, repeats: Iterable[int]) -> Arms:
    """The same models trained once more; a name that stands for several stands for these, too."""
    names = [arm for arm in arms if not arm.endswith(OTHERS)]
    return {repeated(arm, repeat): repeat for repeat in repeats for arm in names}
