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

from normfed_server.report.words import listed, number
from normfed_server.results.layout import Figure, Figures

AUROC, PRECISION = "auroc", "auprc"
CHANCE = 0.5  # of AUROC, by its definition
FEWEST_PATIENTS = 6  # with fewer no paired test can tell two models apart, and an interval of so few says nothing
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
    if min(auroc.n, precision.n) < FEWEST_PATIENTS or low is None or lowest is None:
        return None
    if beside_chance(auroc) != "above chance":
        return "not"
    if low < IN_PART:
        return "hardly"
    return "found" if low >= FOUND else "in part"


def found(kinds: Mapping[str, Figures]) -> list[str]:
    """``Finds tumours (average precision 0.933), MS (0.668) in part, no FCD (AUROC 0.596; chance 0.5).``; then of which
    kinds there are too few patients."""
    known = {kind: figures for kind, figures in kinds.items() if _is_said(figures)}
    ordered = sorted(known, key=lambda kind: -(known[kind][PRECISION].mean or 0.0))
    levels: dict[Level | None, list[str]] = {reached: [] for reached in ("found", "in part", "hardly", "not", None)}
    for kind in ordered:
        levels[level(known[kind])].append(kind)
    first = next((kinds[0] for kinds in levels.values() if kinds), None)
    shown = {
        reached: [f"{plural(kind)} ({_figure(known[kind], reached, kind != first)})" for kind in kinds]
        for reached, kinds in levels.items()
    }
    parts = [
        listed(shown["found"]),
        _with(shown["in part"], after=" in part"),
        _with(shown["hardly"], before="hardly any "),
        _with(shown["not"], before="no "),
    ]
    said = ", ".join(part for part in parts if part)
    few = listed(shown[None])
    return [
        *([f"Finds {said}."] if said else []),
        *([f"Too few patients to say more of {few}."] if few else []),
    ]


def plural(kind: str) -> str:
    """A kind of lesion as a sentence has it."""
    return PLURAL.get(kind, kind)


def _is_said(figures: Figures) -> bool:
    both = [figures.get(metric) for metric in (AUROC, PRECISION)]
    return all(figure is not None and figure.mean is not None for figure in both)


def _figure(figures: Figures, reached: Level | None, named: bool) -> str:
    """What the level was read from; average precision is called that where it comes first."""
    precision = number(figures[PRECISION].mean)
    if reached is None:
        return f"average precision {precision} over {figures[PRECISION].n}"
    if reached == "not":
        return f"AUROC {number(figures[AUROC].mean)}; chance {CHANCE:g}"
    return precision if named else f"average precision {precision}"


def _with(kinds: Sequence[str], before: str = "", after: str = "") -> str:
    return f"{before}{listed(kinds)}{after}" if kinds else ""
