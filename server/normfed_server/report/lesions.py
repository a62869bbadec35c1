"""For which kinds of lesion a ranking of voxels is precise, in words, by the same rules for every model and study.

Of a kind with patients enough, by the 95 % intervals of its means over patients:

    precise   AUROC above chance, and average precision surely at least PRECISE
    partly    AUROC above chance, and average precision surely at least PARTLY
    hardly    AUROC above chance, no more
    not       AUROC not above chance

It says nothing of how many lesions are found: a map may mark all of them, and much else.

Of fewer patients the figure is said and nothing is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from normfed_server.report.words import listed
from normfed_server.results.figures import AUROC, PRECISION, Figure, Figures

CHANCE = 0.5  # of AUROC, by its definition
PRECISE = 0.5  # of average precision: of the voxels called abnormal every second is lesion, over all thresholds
PARTLY = 0.1  # nine of ten are not
PLURAL = {"tumour": "tumours"}  # of kinds that are no abbreviation

Chance = Literal["above chance", "below chance", "not distinguishable from chance"]
Level = Literal["precise", "partly", "hardly", "not"]


def beside_chance(figure: Figure | None, trainings: Sequence[float] = ()) -> Chance:
    """Where an AUROC is: above or below chance only beyond its interval, and in each of several trainings."""
    low, high = figure.ci95 if figure is not None and figure.ci95 is not None else (None, None)
    if low is not None and low > CHANCE and all(mean > CHANCE for mean in trainings):
        return "above chance"
    if high is not None and high < CHANCE and all(mean < CHANCE for mean in trainings):
        return "below chance"
    return "not distinguishable from chance"


def level(figures: Figures) -> Level | None:
    """How precise a map is for a kind of lesion, see the module; None for too few patients, or without an interval."""
    auroc, precision = figures[AUROC], figures[PRECISION]
    (low, _), (lowest, _) = (figure.ci95 or (None, None) for figure in (precision, auroc))
    if low is None or lowest is None:
        return None
    if beside_chance(auroc) != "above chance":
        return "not"
    if low < PARTLY:
        return "hardly"
    return "precise" if low >= PRECISE else "partly"


def in_words(kinds: Mapping[str, Figures]) -> str:
    """``precise for tumours and WMH, partly for MS and not for FCD``, the most precise first; empty where patients are
    too few, or no site says an average precision."""
    known = {kind: figures for kind, figures in kinds.items() if _is_said(figures)}
    levels: dict[Level | None, list[str]] = {}
    for kind in sorted(known, key=lambda kind: -(known[kind][PRECISION].mean or 0.0)):
        levels.setdefault(level(known[kind]), []).append(plural(kind))
    words = [word for word in get_args(Level) if levels.get(word)]
    first = [f"{word}{'' if word == 'precise' else ' precise'} for {listed(levels[word])}" for word in words[:1]]
    return listed([*first, *(f"{word} for {listed(levels[word])}" for word in words[1:])])


def few(kinds: Mapping[str, Figures]) -> list[str]:
    """Of which kinds there are too few patients, and how many."""
    known = [f"{plural(kind)} ({of[PRECISION].n})" for kind, of in kinds.items() if _is_said(of) and level(of) is None]
    return [f"Too few patients to say more of {listed(known)}."] if known else []


def plural(kind: str) -> str:
    """A kind of lesion as a sentence has it."""
    return PLURAL.get(kind, kind)


def _is_said(figures: Figures) -> bool:
    both = [figures.get(metric) for metric in (AUROC, PRECISION)]
    return all(figure is not None and figure.mean is not None for figure in both)
