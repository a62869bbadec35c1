"""Histograms of sites in one picture, a panel per harmonization: how alike are they?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN, COLUMNS = 460, 260, 34, 3
BINS = 80
ENDS = (0.005, 0.995)  # quantiles of all values, between which a panel lies
INK = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]


@dataclass(frozen=True)
class Curves:
    """Values in the brain of each site's people, after one harmonization."""

    label: str
    values: Mapping[str, Sequence[np.ndarray]]

    def densities(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The bins' edges (BINS + 1,), and each site's mean histogram (BINS,), as a density."""
        everything = np.concatenate([one[::50] for people in self.values.values() for one in people])
        edges = np.linspace(*np.quantile(everything, ENDS), BINS + 1)
        width = edges[1] - edges[0]
        return edges, {
            site: np.mean([np.histogram(one, edges)[0] / (len(one) * width) for one in people], 0)
            for site, people in self.values.items()
        }

    def apart(self) -> float:
        """Mean distance between two sites' histograms: half of what differs, 0 to 1 (total variation)."""
        edges, found = self.densities()
        each = [*found.values()]
        pairs = [np.abs(one - other).sum() / 2 for n, one in enumerate(each) for other in each[:n]]
        return float(np.mean(pairs) * (edges[1] - edges[0]))


def drawn(panels: Sequence[Curves]) -> Image.Image:
    """All panels in rows of three; a line per site, whose name stands in its colour."""
    rows = -(-len(panels) // COLUMNS)
    picture = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    for number, panel in enumerate(panels):
        left, top = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        edges, found = panel.densities()
        highest = max(density.max() for density in found.values())
        pen.text((left + 10, top + 6), f"{panel.label}: {panel.apart():.2f} apart", fill="black")
        for value, place in ((edges[0], MARGIN), (edges[-1], WIDTH - MARGIN - 30)):
            pen.text((left + place, top + HEIGHT - 18), f"{value:.2f}", fill="black")
        for line, (site, density) in enumerate(found.items()):
            across = left + MARGIN + np.linspace(0, WIDTH - 2 * MARGIN, BINS)
            down = top + HEIGHT - 22 - density / highest * (HEIGHT - 2 * MARGIN)
            pen.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=INK[line % len(INK)], width=2)
            pen.text((left + MARGIN, top + 22 + 12 * line), site, fill=INK[line % len(INK)])
    return picture
