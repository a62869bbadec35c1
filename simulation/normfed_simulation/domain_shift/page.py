"""domain-shift.html: one table, a heat map per harmonization, what is left of the scanner; one page, nothing from
elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.files import write_text
from normfed_common.study.domain_shift import NONE
from normfed_server.report.rendering import templates
from normfed_server.report.words import interval, number, signed
from normfed_simulation.domain_shift.layout import DomainShift, Share

FILE = "domain-shift.html"
PALE, DARK = (247, 251, 255), (8, 81, 156)  # of the lowest and the highest figure of all heat maps


@dataclass(frozen=True)
class Shading:
    """The colours of heat maps, the same for all of one metric."""

    low: float
    high: float

    def style(self, value: float | None) -> str:
        """Of a cell; nothing where there is no figure."""
        if value is None:
            return ""
        place = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        colour = [round(pale + place * (dark - pale)) for pale, dark in zip(PALE, DARK, strict=True)]
        return f"background: rgb({', '.join(map(str, colour))}); color: {'#fff' if place > 0.55 else '#1f2933'}"


def write_page(folder: Path, results: DomainShift) -> Path:
    """Write it into the study's folder; returns its path."""
    environment = templates("normfed_simulation.domain_shift", trim_blocks=True)
    environment.filters |= {
        "number": number,
        "signed": signed,
        "interval": interval,
        "ends": _ends,
        "share": share,
        "sentence": lambda text: text[:1].upper() + text[1:],
        "percent": lambda value: "–" if value is None else f"{100 * value:.0f} %",
    }
    found = {name: one for name, one in results.harmonizations.items() if not one.failed}
    page = environment.get_template("domain-shift.html.jinja").render(
        results=results,
        found=found,
        failed={name: one.failed for name, one in results.harmonizations.items() if one.failed},
        approaches=[name for name in results.titles if any(name in _approaches(results, one) for one in found)],
        shading={metric: _shading(results, metric) for metric in results.metrics},
        gaps_are_defined=any(figures.gaps for one in found.values() for figures in one.figures.values()),
        none=NONE,
        federated=FEDERATED,
        written=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    path = folder / FILE
    write_text(path, page)
    return path


def share(found: Share | None) -> str:
    """In percent, with its interval; the answer in plain words says why there is none."""
    if found is None:
        return "–"
    if found.value is None:
        return "not defined"
    low, high = found.ci95 or (None, None)
    ends = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * found.value:.0f} %{ends}"


def _ends(ends: tuple[float | None, float | None] | None) -> str:
    """Of a difference's interval."""
    low, high = ends or (None, None)
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _approaches(results: DomainShift, harmonization: str) -> Mapping[str, object]:
    return next(iter(results.harmonizations[harmonization].figures.values())).approaches


def _shading(results: DomainShift, metric: str) -> Shading:
    values = [
        value
        for one in results.harmonizations.values()
        if metric in one.figures
        for row in one.figures[metric].matrix.values()
        for value in row.values()
        if value is not None
    ]
    return Shading(min(values, default=0.0), max(values, default=1.0))
