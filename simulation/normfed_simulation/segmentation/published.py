"""What was published of brain segmentation across the six scanners of CC359, and the table of ours beside it."""

from __future__ import annotations

from collections.abc import Mapping

SCANNERS = ("Siemens-1.5T", "Siemens-3T", "GE-1.5T", "GE-3T", "Philips-1.5T", "Philips-3T")

# Mean surface Dice at 1 mm, Zakazov 2021 (arXiv 2107.04914): trained on the row's scanner, tested on the column's.
_FIGURES = (
    (0.858, 0.696, 0.365, 0.737, 0.582, 0.547),
    (0.608, 0.872, 0.107, 0.658, 0.402, 0.371),
    (0.700, 0.629, 0.836, 0.580, 0.806, 0.626),
    (0.656, 0.731, 0.363, 0.886, 0.517, 0.360),
    (0.689, 0.645, 0.622, 0.590, 0.877, 0.532),
    (0.775, 0.717, 0.552, 0.745, 0.740, 0.855),
)
PUBLISHED = {
    (row, column): figure
    for row, figures in zip(SCANNERS, _FIGURES, strict=True)
    for column, figure in zip(SCANNERS, figures, strict=True)
}


def table(figures: Mapping[tuple[str, str], float]) -> str:
    """Markdown: a row per training, a column per scanner tested on, ours before what was published in brackets.

    Parameters
    ----------
    figures
        Mean surface Dice by training, which is a scanner's name or that of a federation, and scanner tested on.
    """
    rows, columns = (_ordered({pair[place] for pair in figures}) for place in (0, 1))
    lines = [["trained on \\ tested on", *columns], ["---"] * (len(columns) + 1)]
    for row in rows:
        lines.append([row, *(_cell(figures.get((row, column)), PUBLISHED.get((row, column))) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _ordered(names: set[str]) -> list[str]:
    """Scanners as published, then the rest by name."""
    return sorted(names, key=lambda name: (SCANNERS.index(name) if name in SCANNERS else len(SCANNERS), name))


def _cell(ours: float | None, published: float | None) -> str:
    shown = "–" if ours is None else f"{ours:.3f}"
    return shown if published is None else f"{shown} ({published:.3f})"
