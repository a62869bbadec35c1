"""The models of a study by their kinds: what each is, in words for whoever knows nothing of it, and what it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from normfed_common.algorithms.arms import FEDERATED, LOCAL, POOLED, REPEAT, WITHOUT
from normfed_common.privacy.spending import Kind
from normfed_server.report.promises import upwards
from normfed_server.results.guarantees import Guarantee, Mechanism, Spent
from normfed_server.results.layout import RunResults


@dataclass(frozen=True)
class Spending:
    """Models of one kind that took the same: a line of the page's ledger.

    Parameters
    ----------
    models
        How many, further trainings of one model included.
    sites
        How many hospitals train each.
    """

    kind: str
    models: int
    sites: int
    mechanisms: Mapping[Kind, Mechanism]
    epsilon: float
    ours: bool


def spendings(guarantee: Guarantee, results: RunResults) -> list[Spending]:
    """All models of a guarantee, the study's own first."""
    groups: dict[tuple[str, str], list[Spent]] = {}
    for name, spent in sorted(guarantee.models.items(), key=lambda item: _first(item[0]) != FEDERATED):
        same = spent.model_copy(update={"sites": (str(len(spent.sites)),), "epsilon": float(upwards(spent.epsilon))})
        groups.setdefault((_kind(name, results)[0], same.model_dump_json()), []).append(spent)
    return [
        Spending(
            kind,
            len(alike),
            len(alike[0].sites),
            {mechanism.of: mechanism for mechanism in alike[0].mechanisms},
            max(spent.epsilon for spent in alike),
            kind == results.title(FEDERATED),
        )
        for (kind, _), alike in groups.items()
    ]


def explained(names: Iterable[str], results: RunResults) -> dict[str, str]:
    """Every kind of model among these, as it is called, and what it is; the study's own first."""
    return dict(_kind(name, results) for name in sorted(names, key=lambda name: _first(name) != FEDERATED))


def _first(name: str) -> str:
    """Of several trainings of one model."""
    return name.partition(REPEAT)[0]


def _kind(name: str, results: RunResults) -> tuple[str, str]:
    name = _first(name)
    if name == FEDERATED:
        return results.title(name), "the study's own model, which the hospitals train together"
    if name == POOLED:
        return name, "the same with all scans in one place, which only a simulation can have"
    if name.startswith(LOCAL):
        return f"{LOCAL}…", "the same, trained by one hospital alone on its own patients; one such model for each"
    if name.startswith(WITHOUT):
        return f"{WITHOUT}…", "the same, trained by all hospitals but one, to see what it is worth to that one"
    if name in results.strategies:
        return results.title(name), "the same, trained together in another way"
    return results.title(name), "another, simpler model, to see whether the study's own is worth its effort"
