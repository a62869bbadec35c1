"""The table of algorithms: what is shared, what the site minimises, what the server does with the answers.

An algorithm is a row, not a class: one loop trains, one Flower strategy runs rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from normfed_common.algorithms import parameters as p
from normfed_common.citations.bibliography import references
from normfed_common.foundation.errors import StudyError
from normfed_common.foundation.registry import Registry
from normfed_common.study.base import Frozen

T = TypeVar("T")

Sharing = Literal["all", "all but normalisation", "all but the personal parts"]


@dataclass(frozen=True)
class Algorithm:
    """One row; whoever runs a round asks it for facts, never for a name.

    Parameters
    ----------
    sharing
        Which of the model's averaged arrays leave a site.
    objective
        What a site minimises, and with what: a key of the client's objectives.
    server_step
        How the server makes the next global model from the sites' answers: a key of the server's steps.
    parameters
        What a study may set.
    title
        What it is called in print.
    cited
        Where it was published, see `NormativeModel`.
    epochs
        The most passes over a site's people in one training that its parameters ask for, beside the study's
        ``local_epochs``: hospitals bound them.
    fine_tuned
        Whether every site trains the last global model on, for itself.
    beside_a_personal_model
        Whether every site keeps a whole model of its own beside the global one.
    needs_received_loss
        Whether a site says the loss of the model that it received, before it trains.
    clustered
        Whether there may be more than one global model.
    offers_every_cluster
        Whether a site is sent all of them, and trains the one that it says.
    starts_differ
        Whether the first global models must differ, so that no study may give one.
    """

    sharing: Sharing
    objective: str
    server_step: str
    parameters: type[Frozen]
    title: str
    cited: tuple[str, ...] = ()
    epochs: Callable[[Any], int] = lambda _: 0
    fine_tuned: bool = False
    beside_a_personal_model: bool = False
    needs_received_loss: bool = False
    clustered: bool = False
    offers_every_cluster: bool = False
    starts_differ: bool = False

    @property
    def in_print(self) -> str:
        """Its title and where it was published, if anywhere: ``FedProx (Li et al. 2020, arXiv 1812.06127)``."""
        where = references(self.cited)
        return f"{self.title} ({where})" if where else self.title

    @property
    def personal(self) -> bool:
        """Whether a site ends with a model of its own."""
        return self.sharing != "all" or self.beside_a_personal_model or self.fine_tuned

    @property
    def needs_every_part(self) -> bool:
        """Whether a site that never trained has no whole model: part of it never leaves the others."""
        return self.sharing != "all"


ALGORITHMS: Registry[Algorithm] = Registry("strategy", "normfed.strategies", instance_of=Algorithm)
_add = ALGORITHMS.add

_add(
    "fedavg",
    Algorithm("all", "plain", "mean", p.Nothing, "FedAvg", cited=("mcmahan2017",)),
)
_add(
    "fedprox",
    Algorithm(
        "all",
        "proximal",
        "mean",
        p.ProximalParameters,
        "FedProx",
        cited=("li2020fedprox",),
    ),
)
_add(
    "fedavgm",
    Algorithm("all", "plain", "momentum", p.MomentumParameters, "FedAvgM", cited=("hsu2019",)),
)
_add(
    "fedadam",
    Algorithm("all", "plain", "adam", p.AdaptiveParameters, "FedAdam", cited=("reddi2021",)),
)
_add(
    "fedyogi",
    Algorithm("all", "plain", "yogi", p.AdaptiveParameters, "FedYogi", cited=("reddi2021",)),
)
_add(
    "fedadagrad",
    Algorithm(
        "all",
        "plain",
        "adagrad",
        p.AdagradParameters,
        "FedAdagrad",
        cited=("reddi2021",),
    ),
)
_add(
    "qfedavg",
    Algorithm(
        "all",
        "plain",
        "fair",
        p.FairParameters,
        "q-FedAvg",
        cited=("li2020fair",),
        needs_received_loss=True,
    ),
)
_add(
    "fednova",
    Algorithm("all", "plain", "normalised", p.Nothing, "FedNova", cited=("wang2020",)),
)
_add(
    "scaffold",
    Algorithm(
        "all",
        "controlled",
        "controlled",
        p.ControlledParameters,
        "SCAFFOLD",
        cited=("karimireddy2020",),
    ),
)
_add(
    "fedbn",
    Algorithm(
        "all but normalisation",
        "plain",
        "mean",
        p.Nothing,
        "FedBN",
        cited=("li2021fedbn",),
    ),
)
_add(
    "fedper",
    Algorithm(
        "all but the personal parts",
        "plain",
        "mean",
        p.PersonalPartParameters,
        "FedPer",
        cited=("arivazhagan2019",),
    ),
)
_add(
    "lg-fedavg",
    Algorithm(
        "all but the personal parts",
        "plain",
        "mean",
        p.PersonalStemParameters,
        "LG-FedAvg",
        cited=("liang2020",),
    ),
)
_add(
    "fedrep",
    Algorithm(
        "all but the personal parts",
        "alternating",
        "mean",
        p.AlternatingParameters,
        "FedRep",
        cited=("collins2021",),
        epochs=lambda parameters: parameters.personal_epochs,
    ),
)
_add(
    "ditto",
    Algorithm(
        "all",
        "with a personal model",
        "mean",
        p.DittoParameters,
        "Ditto",
        cited=("li2021ditto",),
        beside_a_personal_model=True,
    ),
)
_add(
    "fine-tuning",
    Algorithm(
        "all",
        "plain",
        "mean",
        p.FineTuningParameters,
        "FedAvg, then local fine-tuning",
        cited=("manthe2024",),
        epochs=lambda parameters: parameters.epochs,
        fine_tuned=True,
    ),
)
_add(
    "ifca",
    Algorithm(
        "all",
        "best of clusters",
        "clusters",
        p.IfcaParameters,
        "IFCA",
        cited=("ghosh2020",),
        clustered=True,
        offers_every_cluster=True,
        starts_differ=True,
    ),
)
_add(
    "cfl",
    Algorithm(
        "all",
        "plain",
        "splitting clusters",
        p.SplitParameters,
        "CFL",
        cited=("sattler2020",),
        clustered=True,
    ),
)
_add(
    "prior-clusters",
    Algorithm(
        "all",
        "plain",
        "prior clusters",
        p.PriorParameters,
        "prior CFL",
        cited=("manthe2024",),
        clustered=True,
    ),
)
_add(
    "median",
    Algorithm("all", "plain", "median", p.Nothing, "coordinate-wise median", cited=("yin2018",)),
)
_add(
    "trimmed-mean",
    Algorithm(
        "all",
        "plain",
        "trimmed mean",
        p.TrimmedParameters,
        "trimmed mean",
        cited=("yin2018",),
    ),
)
_add(
    "krum",
    Algorithm("all", "plain", "krum", p.KrumParameters, "Krum", cited=("blanchard2017",)),
)
_add(
    "multi-krum",
    Algorithm(
        "all",
        "plain",
        "multi-krum",
        p.MultiKrumParameters,
        "Multi-Krum",
        cited=("blanchard2017",),
    ),
)
_add(
    "norm-clipping",
    Algorithm(
        "all",
        "plain",
        "clipped mean",
        p.ClippingParameters,
        "norm clipping",
        cited=("sun2019",),
    ),
)


def configure(entry: dict[str, Any]) -> tuple[Algorithm, Any]:
    """The row of a resolved study entry, and its parameters."""
    row, values = ALGORITHMS.chosen(entry, ALGORITHMS.kind)
    return row, row.parameters.model_validate(values, strict=False)


def part(strategy: dict[str, Any], parts: Registry[T], name: str) -> T:
    """The objective or server step of that name, which a resolved study entry's row asks for.

    Raises
    ------
    StudyError
        If this side has none.
    """
    try:
        return parts[name]
    except StudyError as error:
        raise StudyError(f"strategy {strategy['name']}: {error} Install that, or take another strategy.") from error
