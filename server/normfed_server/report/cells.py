"""What stands in the cells of a report's tables."""

from __future__ import annotations

from jinja2 import Environment
from markupsafe import Markup

from normfed_server.report.verdicts import SAME, WITHIN, same, unnoticed
from normfed_server.report.words import interval, number, p_value, percent, rate, signed, small, trainings_spread
from normfed_server.results.figures import Difference, Figure


def add_filters(environment: Environment) -> None:
    """What the report's templates write figures with."""
    environment.filters |= {
        "figure": figure,
        "number": number,
        "small": small,
        "signed": signed,
        "interval": interval,
        "difference": difference,
        "spread": lambda found: trainings_spread(found, " ± {:.3f}"),
        "p_value": p_value,
        "rate": rate,
        "percent": percent,
    }


def figure(found: Figure | None) -> Markup:
    """With its standard deviation below, where there is one."""
    if found is None or found.mean is None:
        return Markup("–")
    spread = Markup('<br><span class="soft">± {}</span>').format(number(found.sd))
    return Markup(number(found.mean)) + (spread if found.sd is not None else "")


def difference(found: Difference | None) -> Markup:
    """With its interval below, where there is one; in words where it is of no width in the digits of tables."""
    if found is None or found.mean is None:
        return Markup("–")
    low, high = found.ci95
    if same(found):
        return Markup(SAME)
    if unnoticed(found):
        return Markup('0.000<br><span class="soft">{}</span>').format(WITHIN)
    ends = Markup('<br><span class="soft">{} to {}</span>').format(signed(low), signed(high))
    return Markup(signed(found.mean)) + (ends if low is not None and high is not None else "")
