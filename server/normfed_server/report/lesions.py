"""Which kinds of lesion a model finds, in words, by rules that are the same for every model and study.

Of a kind with patients enough, by the 95 % intervals of its means over patients:

    found     AUROC above chance, and average precision surely at least FOUND
    in part   AUROC above chance, and average precision surely at least IN_PART
    hardly    AUROC above chance, no more
    not       AUROC not above chance

Of fewer patients the figure is said and nothing is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from normfed_server.report.words import listed
from normfed_server.results.layout import AUROC, PRECISION, Figure, Figures

CHANCE = 0.5  # of AUROC, by its definition
FOUND = 0.5  # of average precision: of the voxels called abnormal every second is lesion, over all thresholds
IN_PART = 0.1  # nine of ten are not
PLURAL = {"tumour": "tumours"}  # of kinds that are no abbreviation

Chance = Literal["above chance", "below chance", "not distinguishable from chance"]
Level = Literal["found", "in part", "hardly", "not"]


def beside_chance(figure: Figure | None, trainings: Sequence[float] = ()) -> Chance:
    """Where an AUROC is: above or below chance only beyond its interval, and in each of several trainings."""
    low, high = figure.ci95 if figure is not None and figure.ci95 is not None else (None, None)
    if low is not None and low > CHANCE and all(mean > CHANCE for mean in trainings):
        return "above chance"
    if high is not None and high < CHANCE and all(mean < CHANCE for mean in trainings):
        return "below chance"
    return "not distinguishable from chance"


def level(figures: Figures) -> Level | None:
    """How well a kind of lesion is found, see the module; None for too few patients, or without an interval."""
    auroc, precision = figures[AUROC], figures[PRECISION]
    (low, _), (lowest, _) = (figure.ci95 or (None, None) for figure in (precision, auroc))
    if low is None or lowest is None:
        return None
    if beside_chance(auroc) != "above chance":
        return "not"
    if low < IN_PART:
        return "hardly"
    return "found" if low >= FOUND else "in part"


def in_words(kinds: Mapping[str, Figures]) -> str:
    """``tumours and WMH well, MS in part and no FCD``, those found best first; empty where patients are too few."""
    known = {kind: figures for kind, figures in kinds.items() if _is_said(figures)}
    levels: dict[Level | None, list[str]] = {}
    for kind in sorted(known, key=lambda kind: -(known[kind][PRECISION].mean or 0.0)):
        levels.setdefault(level(known[kind]), []).append(plural(kind))
    parts = [
        _with(levels.get("found", ()), after=" well"),
        _with(levels.get("in part", ()), after=" in part"),
        _with(levels.get("hardly", ()), before="hardly any "),
        _with(levels.get("not", ()), before="no "),
    ]
    return listed(part for part in parts if part)


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


def _with(kinds: Sequence[str], before: str = "", after: str = "") -> str:
    return f"{before}{listed(kinds)}{after}" if kinds else ""
