"""What membership attacks reached, as one drawing without scripts: recognised against mistaken people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from normfed_server.report.figures import COLOURS

Curve = Sequence[tuple[float, float]]  # false- and true-positive rates

WIDTH, HEIGHT = 680, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 26, 14, 48
LEAST = 1e-3  # false-positive rate at the left end
SHARES = (0.001, 0.01, 0.1, 1.0)  # along the scale of false positives
POINTS = 200


def drawn(curves: Mapping[str, Curve], epsilon: float | None = None, delta: float = 0.0) -> Markup:
    """An SVG of all curves, that of guessing, and the region that no attack may reach where something is claimed.

    Parameters
    ----------
    curves
        By what people read of an attack.
    epsilon, delta
        Claimed of what was attacked; None for nothing.
    """
    parts = [_axes()]
    shares = [LEAST ** (1 - k / POINTS) for k in range(POINTS + 1)]
    if epsilon is not None:
        above = [(share, allowed(share, epsilon, delta)) for share in shares]
        region = [*above, (1.0, 1.0), (LEAST, 1.0)]
        parts.append(Markup('<polygon points="{}" fill="#0b6e99" fill-opacity="0.10"/>').format(_points(region)))
    parts.append(_line([(share, share) for share in shares], "#6b7a8f", "5 4"))
    for number, curve in enumerate(curves.values()):
        parts.append(_line(_steps(curve), COLOURS[number % len(COLOURS)], "none"))
    svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="recognised against mistaken">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )
    return svg + _legend(curves, epsilon is not None)


def allowed(false_positives: float, epsilon: float, delta: float) -> float:
    """The highest true-positive rate against an (epsilon, delta) private mechanism (Kairouz 2015, arXiv 1311.0776)."""
    growing = math.exp(min(epsilon, 700.0)) * false_positives + delta
    return max(0.0, min(1.0, growing, 1 - math.exp(-epsilon) * (1 - delta - false_positives)))


def _steps(curve: Curve) -> list[tuple[float, float]]:
    """A curve as it goes in the drawing: what lies left of the scale begins at its end."""
    height = 0.0
    found = [(LEAST, height)]
    for false, true in curve:
        found += [(max(false, LEAST), height), (max(false, LEAST), true)]
        height = true
    return found


def _line(points: Curve, colour: str, dashes: str) -> Markup:
    form = '<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>'
    return Markup(form).format(_points(points), colour, dashes)


def _points(points: Curve) -> str:
    return " ".join(f"{_across(false):.1f},{_up(true):.1f}" for false, true in points)


def _across(false: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (1 - math.log(max(false, LEAST)) / math.log(LEAST))


def _up(true: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - true)


def _axes() -> Markup:
    line = '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="#dde3e9"/>'
    text = '<text x="{}" y="{}" text-anchor="{}">{}</text>'
    parts = []
    for share in SHARES:
        parts.append(Markup(line).format(_across(share), TOP, _across(share), HEIGHT - BOTTOM))
        parts.append(Markup(text).format(_across(share), HEIGHT - BOTTOM + 17, "middle", f"{100 * share:g} %"))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(Markup(line).format(LEFT, _up(share), WIDTH - RIGHT, _up(share)))
        parts.append(Markup(text).format(LEFT - 8, _up(share) + 4, "end", f"{100 * share:g} %"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(Markup(text).format(middle, HEIGHT - 8, "middle", "others mistaken for somebody who took part"))
    turned = '<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>'
    parts.append(Markup(turned).format((TOP + HEIGHT - BOTTOM) / 2, "recognised of those who took part"))
    return Markup("").join(parts)


def _legend(curves: Mapping[str, Curve], claimed: bool) -> Markup:
    key = (
        '<span class="key"><svg viewBox="0 0 26 10"><path d="M0 5H26" stroke="{}" stroke-width="{}"{}/></svg>{}</span>'
    )
    entries = [Markup(key).format(COLOURS[number % len(COLOURS)], 2, "", title) for number, title in enumerate(curves)]
    entries.append(Markup(key).format("#6b7a8f", 2, Markup(' stroke-dasharray="5 4"'), "guessing"))
    if claimed:
        entries.append(Markup(key).format("#dcebf2", 10, "", "no attack can come here, if the claim holds"))
    return Markup('<p class="legend">{}</p>').format(Markup(" ").join(entries))
