"""The page as a browser and a screen reader have it: links lead somewhere, headings are in order, chance is beside."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared import GAIN, calibration, difference, metrics, row, unseen
from run_results import run_results

from normfed_common.study.config import StudyConfig
from normfed_server.report.page import Patients, write_report
from normfed_server.results import layout
from normfed_server.results.layout import WITHOUT_LESION
from normfed_server.runs import folder as runs

VOID = {"meta", "img", "br", "stop", "rect", "path", "input", "link"}


class Walk(HTMLParser):
    """Elements in their order, and tables with their rows of cells' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[tuple[str, dict[str, str | None], str]]]] = []
        self.feed(text)
        self.close()
        assert self.open == []  # every element is closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append((tag, dict(attrs), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"th", "td"} & set(self.open):
            tag, attributes, text = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (tag, attributes, text + data)


def person(name: str, **more: Any) -> SimpleNamespace:
    figures = {"auprc": 0.5, "auroc": 0.9, "dice": 0.4, "lesion_sensitivity": 1.0}
    known = {"site": "a", "kind": "MS", "age": 60.0, "sex": "F", "lesion_ml": 1.5, "share": 0.01, "figures": figures}
    return SimpleNamespace(name=name, **{**known, "baseline": 0.3, "detected": "found", **more})


def everything() -> tuple[dict[str, Any], Patients]:
    """A run of which all is known, and of each patient too."""
    better, tied = difference(0.1, 0.05, 0.15), difference(0.02, -0.02, 0.06)
    found = metrics(local=tied, pooled=tied, atlas=better, ditto=tied) | {
        "lesion_share": {"all": 0.03, "sites": {"a": 0.05}},
        "software": {"normfed": "0.1.0", "Python": "3.11"},
        "unseen": unseen(better, tied),
        "league": [row("ditto", 0.4, GAIN), row("federated", 0.3, GAIN)],
        "matrix": {metric: {"a": {"a": 0.8}} for metric in ("auroc", "auprc")},
        "trained": ["a"],
    }
    found["strategies"]["ditto"] = {"name": "ditto"}
    ours = found["evaluation"]["federated"]
    bracket = {"value": 0.9, "low": 0.89, "high": 0.91}
    ours |= {
        "merged": {"auroc": bracket, "auprc": bracket},
        "threshold": {"value": 1.0, "from": "held-out normal people"},
        "calibration": calibration(0.02, a=3, b=4),
        "kinds": {"MS": ours["all"]},
    }
    strip = SimpleNamespace(picture="data:,", low=0.1, high=2.0)
    case = SimpleNamespace(
        title="Best",
        name="sub-1",
        site="a",
        about="MS",
        detected="found",
        figures={"auprc": 0.5},
        share=0.01,
        scans=[("FLAIR", "data:,")],
        maps=[SimpleNamespace(title="atlas", strip=strip, figures="")],
        projections="data:,",
        threshold=1.0,
        clusters=[SimpleNamespace(rank=1, volume_mm3=90.0, peak_score=2.0, tissue="white", hit=True)],
        remarks=(),
        ill=True,
    )
    people = [person("sub-1"), person("sub-2", age=None, sex=None, detected="missed")]
    chances = {"MS": 0.01}
    left_out = [("sub-3", "no FLAIR")]
    return found, Patients((case,), people, (7, 12), chances, left_out, {}, "cpu")


def nothing_tested() -> tuple[dict[str, Any], Patients]:
    return metrics() | {"evaluation": {}, "differences": {}}, Patients()


def healthy_alone() -> tuple[dict[str, Any], Patients]:
    """Tested on people without a lesion: the thresholds are measured, and nothing is known of lesions."""
    found, patients = everything()
    figures = {"false_clusters": {"mean": 3.0, "sd": 1.0, "n": 9, "ci95": [2.0, 4.0]}}
    figures["image_auroc"] = {"mean": None, "sd": None, "n": 1}
    unknown = {"value": None, "low": None, "high": None}
    ours = {
        **found["evaluation"]["federated"],
        "all": figures,
        "sites": {"a": figures},
        "kinds": {},
        "worst_site": {},
        "merged": {"auroc": unknown, "auprc": unknown},
    }
    only = {key: found[key] for key in ("sites", "strategies", "trained")}
    healthy = [SimpleNamespace(**{**vars(case), "title": "Somebody healthy", "ill": False}) for case in patients.cases]
    only["sites"] = [{**site, "test": 9, "kinds": [WITHOUT_LESION]} for site in only["sites"]]
    return {**only, "evaluation": {"federated": ours}}, Patients(healthy, patients.people)


RUNS = {
    "everything": everything,
    "of a server": lambda: (everything()[0], Patients()),
    "nothing tested": nothing_tested,
}
RUNS["healthy alone"] = healthy_alone


@pytest.fixture(params=list(RUNS))
def text(request: pytest.FixtureRequest, study: StudyConfig, tmp_path: Path) -> str:
    found, patients = RUNS[request.param]()
    return written(study, tmp_path, found, patients)


def written(study: StudyConfig, folder: Path, found: dict[str, Any], patients: Patients) -> str:
    run = runs.begin(study, folder)
    layout.write(run.folder, run_results(**found))
    return re.sub(r"<script.*?</script>", "", write_report(run, patients).read_text(), flags=re.DOTALL)


def words(text: str) -> str:
    """What is read, without spaces more than one."""
    return " ".join(re.sub(r"<.*?>", " ", text).split())


def test_every_link_leads_somewhere_and_nothing_is_called_alike(text: str) -> None:
    elements = Walk(text).elements
    ids = Counter(attributes["id"] for _, attributes in elements if "id" in attributes)
    assert [name for name, times in ids.items() if times > 1] == []
    links = {attributes["href"] for tag, attributes in elements if tag == "a" and attributes.get("href")}
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)
    assert {link for link in links if link and not link.startswith("#")} == {
        "privacy.html"
    }  # which is written beside it


def test_headings_are_in_order_and_the_page_says_its_language(text: str) -> None:
    elements = Walk(text).elements
    assert dict(elements)["html"]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_sections_come_in_the_order_in_which_a_reader_asks(text: str) -> None:
    found = re.findall(r'<h2 id="(\w+)"', text)
    order = ["strategies", "found", "trust", "where", "compared", "patients", "trained", "study", "glossary"]
    assert found == [name for name in order if name in found]
    assert re.findall(r'<li><a href="#(\w+)"', text) == found  # the table of contents


def test_no_table_is_empty_no_interval_is_of_nothing_and_no_column_is_of_dashes(text: str) -> None:
    assert "– to –" not in text
    assert "None" not in words(text)
    for table in Walk(text).tables:
        rows = [cells for cells in table if any(tag == "td" for tag, _, _ in cells)]
        assert rows
        width = max(len(cells) for cells in rows)
        columns = [[cells[at][2].strip() for cells in rows if len(cells) == width] for at in range(width)]
        assert [column for column in columns if column and set(column) == {"–"}] == []


def test_cells_that_head_a_row_or_a_column_say_so(text: str) -> None:
    cells = [cell for table in Walk(text).tables for cells in table for cell in cells]
    assert {attributes.get("scope") for tag, attributes, _ in cells if tag == "th"} <= {"row", "col", "colgroup"}
    assert all(attributes.get("scope") is None for tag, attributes, _ in cells if tag == "td")


@pytest.mark.parametrize("of", ["everything", "of a server"])
def test_chance_stands_in_every_table_of_auroc_or_average_precision(
    study: StudyConfig, tmp_path: Path, of: str
) -> None:
    tables = Walk(written(study, tmp_path, *RUNS[of]())).tables
    ranked = 0
    for table in tables:
        heads = [[text.strip() for tag, _, text in cells] for cells in table if any(tag == "th" for tag, *_ in cells)]
        named = [at for line in heads[:2] for at, text in enumerate(line) if text in ("AUROC", "average precision")]
        if not named:
            continue
        ranked += 1
        chances = [cells for cells in table if cells[0][2].strip() == "chance"]
        in_column = "chance" in heads[0] and "chance" not in heads[0][:1]
        assert chances or in_column, heads[0]
        if chances and named != [0]:
            assert all(chances[0][at][2].strip() for at in named), heads[0]
    assert ranked >= 6


def test_pictures_say_what_they_show(study: StudyConfig, tmp_path: Path) -> None:
    elements = Walk(written(study, tmp_path, *everything())).elements
    alternatives = [attributes["alt"] or "" for tag, attributes in elements if tag == "img"]
    assert len(alternatives) == 3
    assert all("sub-1" in said and len(said) > 20 for said in alternatives)


def test_a_server_says_why_it_has_no_patients(study: StudyConfig, tmp_path: Path) -> None:
    text = words(written(study, tmp_path, everything()[0], Patients()))
    assert "No scan, map or figure of a person leaves a hospital, so there are none here" in text
    assert "The lesions' share by kind does not leave a hospital." in text.replace("&#39;", "'")


def test_of_a_run_without_patients_the_first_sentence_says_that_nothing_was_tested(
    study: StudyConfig, tmp_path: Path
) -> None:
    text = written(study, tmp_path, *nothing_tested())
    assert "<strong>Nothing was tested: no patient with a lesion is among these people" in text
    assert 'href="#compared"' not in text


def test_every_patient_is_a_row_that_can_be_sorted(study: StudyConfig, tmp_path: Path) -> None:
    (table,) = [t for t in Walk(written(study, tmp_path, *everything())).tables if t[0][0][2] == "patient"]
    heads, first, second = ([text.strip() for *_, text in cells] for cells in table[:3])
    assert dict(zip(heads, first, strict=True)) == {
        "patient": "sub-1",
        "site": "a",
        "kind": "MS",
        "age": "60",
        "sex": "F",
        "lesion, ml": "1.50",
        "average precision": "0.500",
        "AUROC": "0.900",
        "Dice at threshold": "0.400",
        "AP of the best baseline": "0.300",
        "chance of AP": "0.01",
        "lesions found": "found",
    }
    assert (second[3], second[4], second[-1]) == ("", "", "missed")
    assert "Of all 12 lesions, however small, 7 are touched" in words(written(study, tmp_path / "again", *everything()))


def test_what_the_figures_were_made_with_stands_on_the_page(study: StudyConfig, tmp_path: Path) -> None:
    text = words(written(study, tmp_path, *everything()))
    for said in ("normfed 0.1.0", "Python 3.11", "device cpu", f"study (digest) {'0' * 64}"):
        assert said in text


def test_of_fewer_than_six_patients_no_model_is_called_better(study: StudyConfig, tmp_path: Path) -> None:
    found = everything()[0]
    for figure in found["evaluation"]["federated"]["all"].values():
        figure["n"] = 5
    found["unseen"] = unseen(difference(0.1, 0.05, 0.15), difference(0.1, 0.05, 0.15), n=5)
    text = written(study, tmp_path, found, Patients())
    table = text[text.index('<h2 id="found">') : text.index('<h2 id="trust">')]
    assert "fewer than 6 patients: too few to say" in table
    assert "better" not in table


def test_of_healthy_people_alone_thresholds_are_shown_and_nothing_of_lesions(
    study: StudyConfig, tmp_path: Path
) -> None:
    text = written(study, tmp_path, *healthy_alone())
    assert "<strong>Nothing was tested" in text
    assert "What the thresholds promise and what they keep" in text
    assert "All patients" not in text
    assert "All scans together</a>, from" not in text
    assert "Somebody healthy" in text
    assert not any("AUROC" in cell for table in Walk(text).tables for cells in table for *_, cell in cells)
