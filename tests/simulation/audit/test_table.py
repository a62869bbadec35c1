"""What an audit found can be read in a terminal of 80 columns: no figure is broken, nothing is cut off."""

from __future__ import annotations

import io

import pytest
from audits import NOBODY, audited, finding
from rich.console import Console

from normfed_simulation.audit.table import shown

LONG = {
    "title": "Likelihood ratio of how normal the model finds the person",
    "knows": "the model and the scans of all candidates, and 15 federations with people of the attacker's choice",
    "baselines": {"threshold": 0.61},
    "epsilon_of": "the model that a federation ends with",
    "rates": {"0.01": 0.08, "0.1": 0.25},
}
INVERTED = {"measure": "PSNR in dB", "chance": None, "rates": {}, "epsilon_at_least": None}
REFUSED = {"figure": None, "notes": ("The second sum is refused [no markup].", "More is not shown.")}


def screen(width: int, *audits: object) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(shown(audits))  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_stands_whole_in_one_line(width: int) -> None:
    text = screen(width, audited(finding(**LONG), finding(**INVERTED), finding(**REFUSED)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for figure in ("AUC 0.71", "PSNR in dB 0.71", "(0.62 to 0.80)", "0.08, 0.25", "0.50", "0.62"):
        assert any(figure in line for line in lines), figure


def test_what_was_not_made_says_why_in_its_own_words() -> None:
    words = " ".join(screen(100, audited(finding(**REFUSED))).split())
    assert "The second sum is refused [no markup]." in words
    assert "More is not shown" not in words


def test_runs_stand_one_below_the_other_each_with_its_claim() -> None:
    protected = NOBODY.model_copy(update={"epsilon": 3.99812})
    text = screen(80, audited(finding(), run="first"), audited(finding(), run="second", protection=protected))
    assert text.index("first (siamese); claimed: no differential privacy") < text.index(
        "second (siamese); claimed: epsilon of at most 4 per patient"
    )
