"""What the names of trained models mean, in words for whoever knows nothing of the study."""

from __future__ import annotations

from collections.abc import Iterable

from normfed_server.arms.plan import LOCAL, REPEAT, WITHOUT
from normfed_server.results.layout import RunResults
from normfed_server.sites.description import POOLED
from normfed_server.sites.letterhead import FEDERATED


def explained(names: Iterable[str], results: RunResults) -> list[tuple[str, str]]:
    """Every kind of model among these, as it is called, and what it is; in the order of the names."""
    return list(dict.fromkeys(entry for name in names for entry in _explained(name, results)))


def _explained(name: str, results: RunResults) -> list[tuple[str, str]]:
    first, again, _ = name.partition(REPEAT)
    more = [(f"{REPEAT}2", "at the end of a name: a second training of the same model, by other random numbers; so on")]
    return [_kind(first, results), *(more if again else [])]


def _kind(name: str, results: RunResults) -> tuple[str, str]:
    if name == FEDERATED:
        return results.title(name), "the study's own model, which the hospitals train together"
    if name == POOLED:
        return name, "the same with all scans in one place, which only a simulation can have"
    if name.startswith(LOCAL):
        return f"{LOCAL}…", "the same, trained by the hospital of that name alone, on its own patients"
    if name.startswith(WITHOUT):
        return f"{WITHOUT}…", "the same, trained by all others: what the study is worth to a hospital that stays away"
    if name in results.strategies:
        return results.title(name), "the same, trained together in another way"
    return results.title(name), "another, simpler model, to see whether the study's own is worth its effort"
