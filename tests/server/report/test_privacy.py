"""privacy.html: what stands first, what attacks reached, and that it needs nothing from anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audits import audited, finding
from compared import metrics
from guarantees import figures, guarantee
from run_results import history, run_results

from normfed_common.study.config import StudyConfig
from normfed_server.report.page import write_report
from normfed_server.results import audit, layout
from normfed_server.runs import folder as runs
from normfed_server.runs.folder import PRIVACY, Run

Written = Callable[..., str]


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    return runs.begin(study, tmp_path)


@pytest.fixture
def written(run: Run) -> Written:
    """The page of these claims, and of this audit."""

    def write(claims: dict[str, Any] | None = None, found: audit.PrivacyAudit | None = None, **said: Any) -> str:
        privacy = {} if claims is None else {"privacy": figures(**claims).model_dump(mode="json")}
        layout.write(run.folder, run_results(**{**metrics(atlas=None), "rounds": history({}), **privacy, **said}))
        if found is not None:
            audit.save(run.folder, found)
        write_report(run)
        return (run.folder / PRIVACY).read_text()

    return write


@pytest.mark.parametrize(
    ("claims", "tone", "words"),
    [
        (None, "nothing", "Without differential privacy."),
        ({"minimum_sites": 4}, "nothing", "Without differential privacy. Secure aggregation"),
        ({"people": guarantee("sample")}, "nothing", "Patients are not protected, only single samples"),
        ({"sites": guarantee("site")}, "partly", "Hospitals are protected at a server that they trust"),
        (
            {"people": guarantee("patient", 12.0, federated=12.0)},
            "partly",
            "Patients who were learnt from are protected weakly: epsilon 12",
        ),
        ({"people": guarantee()}, "promised", "Patients who were learnt from are protected: epsilon 4"),
    ],
)
def test_the_first_thing_is_whether_patients_are_protected(
    written: Written, claims: dict[str, Any] | None, tone: str, words: str
) -> None:
    text = written(claims)
    box = text.index(f'<div class="{tone}">')
    assert text.index("</nav>") < box < text.index("<h2")
    assert words in text[box : text.index("<h2")]
    assert ("No guarantee limits what can be learnt of a single patient" in text) == (tone == "nothing")


def test_the_report_says_the_same_and_leads_there(written: Written, run: Run) -> None:
    written({"people": guarantee()})
    report = (run.folder / "report.html").read_text()
    assert "Patients who were learnt from are protected: epsilon 4 per patient and model" in report
    assert f'<a href="{PRIVACY}">' in report
    written()
    assert "Without differential privacy." in (run.folder / "report.html").read_text()


def test_the_promise_is_told_as_a_factor_and_of_suspicions(written: Written) -> None:
    text = written({"people": guarantee()})
    assert "<strong>55 times</strong>" in text  # e^4 = 54.6
    assert "<td>50 %</td><td>98.3 %</td><td>" in text  # 54.6 / 55.6 = 98.2, rounded up
    assert "1 in 100,000" in text
    assert text.count("<td>50 %</td>") == 1
    assert written({"people": guarantee(), "sites": guarantee("site")}).count("<td>50 %</td>") == 2


def test_the_promise_names_what_it_rests_on(written: Written) -> None:
    own = written({"people": guarantee()})
    assert "as long as nobody knows the secret that a hospital draws its noise from. Epsilon" in own
    assert "share the noise" not in own
    claim = guarantee()
    claim["models"]["federated"] |= {"alone": 7.6}
    claim["models"]["federated"]["mechanisms"][0]["sites"] = 3
    shared = written({"people": claim, "minimum_sites": 4})
    assert "breaks the masks of secure aggregation" in shared
    assert "as long as 3 hospitals of every sum" in shared
    assert "its share of the noise itself" in shared


def test_the_ledger_has_a_line_for_every_model_and_one_for_all(written: Written) -> None:
    text = written({"people": guarantee()})
    line = "<td>80</td><td>2.8</td><td>25 %</td><td>4</td></tr>"  # there are no sums, and no columns for them
    assert f"<td>federated</td><td>1</td><td>2</td>{line}" in text
    assert re.search(r"<td>all together</td><td>2</td>(<td></td>){4}<td>8\.81</td>", text)
    of_sites = written({"sites": guarantee("site")})
    assert "<td>federated</td><td>1</td><td>2</td><td>80</td><td>2.8</td><td>4</td></tr>" in of_sites
    assert "<td>all together</td><td>2</td><td></td><td></td><td></td><td>8.81</td>" in of_sites
    assert "Nothing was counted" in written()


def test_the_models_of_the_ledger_are_explained_above_it(written: Written) -> None:
    text = written({"people": guarantee(**{"federated": 3.9, "local-a": 3.9, "local-b": 3.9})})
    spent = text[text.index('<h2 id="spent"') : text.index('<h2 id="attacks"')]
    assert spent.index("<li><strong>federated</strong>: ") < spent.index("<li><strong>local-…</strong>: ")
    assert spent.index("local-…") < spent.index("<td>local-…</td><td>2</td>")
    assert spent.count("trained by one hospital alone") == 1
    assert "These models learnt" not in written()


def test_before_an_audit_nothing_is_said_of_what_attacks_reach(written: Written) -> None:
    """Only that it is not measured."""
    for claims in (None, {"people": guarantee()}, {"people": guarantee("patient", 12.0, federated=12.0)}):
        text = written(claims)
        assert "Not measured yet." in text
        assert not re.search(r"attacks? (reach(es|ed)?|g[eo]ts?|goes) (far|much|less|no)", text)


def test_whoever_did_not_audit_is_told_how(written: Written, run: Run) -> None:
    assert "<pre>normfed audit-privacy RUN</pre>" in written()
    run.sites_file.write_text("[]")
    text = written()
    assert f"<pre>normfed audit-privacy {run.folder}</pre>" in text
    assert "This run was a simulation" in text


def test_attacks_stand_in_a_table_and_a_drawing(written: Written) -> None:
    text = written({"people": guarantee()}, audited(finding(), finding(title="Other", figure=None, notes=("No <b>.",))))
    assert "<td>0.710 (0.620–0.800)</td><td>0.500</td>" in text
    assert '<td>8 %</td><td>–</td><td>80</td><td class="words">0.620</td>' in text
    assert "not made" in text
    assert "Other: No &lt;b&gt;." in text
    assert text.count("<polyline") == 3
    assert "<polygon" in text
    assert "audit-privacy" not in text
    assert 'class="warning"' not in text


def test_an_audit_without_curves_has_no_drawing(written: Written) -> None:
    assert "<polyline" not in written(None, audited(finding(curve=())))


@pytest.mark.parametrize(
    ("reached", "of", "warned"), [(3.9, "", False), (4.1, "", True), (4.1, "a sum without noise", False)]
)
def test_an_attack_that_got_further_than_is_claimed_is_said_first(
    written: Written, reached: float, of: str, warned: bool
) -> None:
    text = written({"people": guarantee()}, audited(finding(epsilon_at_least=reached, epsilon_of=of)))
    assert ("Loss threshold reached further than the claim allows" in text) == warned


def test_an_audit_of_another_study_says_so(written: Written) -> None:
    assert "is of another study" in written(None, audited(finding(), digest="1" * 64))


def test_a_damaged_audit_does_not_keep_the_page_away(written: Written, run: Run) -> None:
    (run.folder / audit.FILE).write_text('{"version": 1')
    assert f"{audit.FILE} cannot be read" in written()


def test_what_it_costs_can_be_found_out(written: Written) -> None:
    assert "which is not among the runs of this folder" in written({"people": guarantee()})
    assert "Nothing: there was none." in written()


def test_the_page_runs_nothing_and_asks_for_nothing(written: Written) -> None:
    text = written({"people": guarantee(), "sites": guarantee("site"), "minimum_sites": 4}, audited(finding()))
    for forbidden in ("<script", "<img", "<link", "url(", "@import", "http", " onload", "src="):
        assert forbidden not in text
    assert set(re.findall(r'href="([^"]*)"', text)) - {"report.html"} == {
        f"#{name}" for name in re.findall(r'<h2 id="([a-z]+)"', text)
    }


def test_names_of_others_are_text(written: Written) -> None:
    bad = "<script>alert(1)</script>"
    claims = {"people": guarantee(**{bad: 1.0, "federated": 3.99}), "sites": guarantee("site"), "outside": [bad]}
    attack = finding(title=bad, knows=bad, measure=bad, epsilon_of=bad, baselines={bad: 0.5}, notes=(bad,))
    text = written(claims, audited(attack), study=bad, titles={"atlas": bad})
    assert text.count("alert(1)") > 8
    assert bad not in text


def test_every_table_scrolls_within_itself_where_the_page_is_narrow(written: Written) -> None:
    before = re.findall(r'(<div class="[a-z ]*">)?<table', written({"people": guarantee()}, audited(finding())))
    assert len(before) == 5
    assert all("scroll" in opening for opening in before)
