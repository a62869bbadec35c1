"""The bibliography is BibTeX that BibTeX itself reads, and says of nobody what was not published."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from normfed_common.citations.bibliography import ELEMENTARY, bibtex, entries, key_of, references

BROUGHT = "@article{someone2025,\n  title = {A model},\n}"


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+)\s*= \{(.*)\},$", entry, re.MULTILINE))


def test_every_entry_is_read_once_and_whole() -> None:
    found = entries()
    assert len(found) > 70
    text = bibtex(found)
    assert text.count("\n@") + text.startswith("@") == len(found)
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("key", entries())
def test_an_entry_has_an_author_a_title_a_year_and_where_it_was_published(key: str) -> None:
    found = fields(entries()[key])
    assert {"author", "title"} <= found.keys()
    if key == "ixi":  # a page without a year
        assert "url" in found
        return
    assert 1900 < int(found["year"]) < 2030
    assert {"journal", "booktitle", "publisher", "institution", "version"} & found.keys()
    if "doi" in found:
        assert re.fullmatch(r"10\.\d{4,}/\S+", found["doi"])
    if "eprint" in found:
        assert re.fullmatch(r"\d{4}\.\d{5}", found["eprint"])
        assert found["archiveprefix"] == "arXiv"


def test_no_two_entries_are_of_one_publication() -> None:
    for field in ("doi", "eprint", "title"):
        told = [fields(entry)[field].lower() for entry in entries().values() if field in fields(entry)]
        assert len(told) == len(set(told))


def test_our_own_entry_has_the_version_that_runs() -> None:
    assert fields(entries()["normfed"])["version"] == version("normfed")


def test_entries_come_once_in_the_order_of_the_file_and_a_plug_in_s_last() -> None:
    text = bibtex(["mcmahan2017", BROUGHT, "baur2021", ELEMENTARY, "mcmahan2017"])
    assert re.findall(r"^@\w+\{([^,]+)", text, re.MULTILINE) == ["baur2021", "mcmahan2017", "someone2025"]
    assert bibtex([ELEMENTARY]) == ""
    assert key_of(BROUGHT) == "someone2025"


@pytest.mark.parametrize(("cited", "error"), [("nobody1999", KeyError), ("@article{broken", ValueError)])
def test_what_is_no_key_and_no_entry_is_refused(cited: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        bibtex([cited])


@pytest.mark.skipif(shutil.which("bibtex") is None, reason="no BibTeX here")
def test_bibtex_reads_it_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "methods.bib").write_text(bibtex(entries()))
    (tmp_path / "a.aux").write_text("\\citation{*}\n\\bibdata{methods}\n\\bibstyle{plain}\n")
    done = subprocess.run(["bibtex", "a"], cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if "entry type" not in line and "Warning" in line]
    assert not [line for line in said if "ixi" not in line], done.stdout
    assert "error" not in done.stdout.lower()


def test_a_reference_in_a_few_words_has_people_year_and_where() -> None:
    assert references(["dice1945", ELEMENTARY, "hanley1982"]) == (
        "Dice 1945, doi 10.2307/1932409; Hanley & McNeil 1982, doi 10.1148/radiology.143.1.7063747"
    )
    assert references(["mcmahan2017"]) == "McMahan et al. 2017, arXiv 1602.05629"
    assert references(["arnaud2018"]) == "Arnaud et al. 2018, IEEE Transactions on Medical Imaging"
    assert references(["rahimi2007"]) == "Rahimi & Recht 2007, Advances in Neural Information Processing Systems 20"
    assert references(["fisher1932"]) == "Fisher 1932, Statistical Methods for Research Workers"
    assert references(["nyul1999"]).startswith("Nyúl & Udupa 1999")  # as people write it, not as LaTeX does
    assert references(["elementary", "normfed"]) == references([]) == ""
    assert references([BROUGHT, "nobody1999"]) == "A model; nobody1999"
