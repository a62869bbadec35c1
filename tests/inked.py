"""Which texts of a drawn figure are beyond its edges, by where each of them is when it is drawn."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


def cut(figure: Figure) -> list[str]:
    """The texts of which a file of the figure lacks something; labels of ticks that nobody sees are not drawn."""
    found: list[str] = []
    draw = Text.draw

    def seen(text: Text, renderer: Any) -> None:
        box, canvas = text.get_window_extent(renderer), figure.bbox
        inside = box.x0 >= canvas.x0 and box.y0 >= canvas.y0 and box.x1 <= canvas.x1 and box.y1 <= canvas.y1
        if text.get_visible() and text.get_text().strip() and not inside:
            found.append(text.get_text())
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", seen)
        figure.draw_without_rendering()
    return found
