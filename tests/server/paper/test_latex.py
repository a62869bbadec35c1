"""Tables as LaTeX: by rules of its own where there is no LaTeX, and by pdflatex where there is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from normfed_server.paper.latex import LONGEST, WORDS, Table, bold, escaped, source

NASTY = r"100 % of A_1 & B#2 {x} ~ ^ \input{/etc/passwd} $5 <b> Ångström ± − – × ≥ 日 [0.5]"


def table(rows: int) -> Table:
    cells = [
        [escaped(NASTY), bold("0.5"), "0.5 [0.1, 0.9]"],
        ["[0.5, 0.6]", "--", escaped("FLAIR intensity")],
    ]
    return Table(
        "nasty-1", escaped(NASTY), ["A", escaped("50 %"), escaped("AUROC (plain)")], [WORDS, "r", "c"], cells * rows
    )


def test_what_a_study_says_is_text_and_never_a_command() -> None:
    found = escaped(NASTY)
    assert r"\textbackslash{}input\{/etc/passwd\}" in found
    assert r"100 \% of A\_1 \& B\#2" in found
    assert r"\$5" in found
    assert found.isascii() or "Å" in found
    assert "日" not in found
    assert "\n" not in escaped("a\n\nb")


def test_a_row_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="nasty: a row has not as many cells"):
        Table("nasty", "", ["a", "b"], "ll", [["1"]])


@pytest.mark.parametrize(("rows", "environment"), [(1, "tabular"), (LONGEST, "longtable")])
def test_a_table_has_booktabs_rules_a_caption_and_a_label(rows: int, environment: str) -> None:
    found = source(table(rows))
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{tab:nasty-1}"):
        assert part in found
    assert rf"\begin{{{environment}}}{{{WORDS}rc}}" in found
    assert found.count(r"\hline") == 0
    assert found.count(r"\begin{tabular}") == (environment == "tabular")  # no table within a cell


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
@pytest.mark.parametrize("rows", [1, LONGEST])
def test_a_table_compiles(tmp_path: Path, rows: int) -> None:
    body = source(table(rows))
    packages = r"\usepackage{array,booktabs,longtable}"
    (tmp_path / "a.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
