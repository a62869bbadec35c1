"""The answer in plain words, its table and its page, made of figures of which the answer is known."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from normfed_simulation.domain_shift import schema
from normfed_simulation.domain_shift.layout import (
    AgeFit,
    ApproachFigures,
    Compared,
    DomainShift,
    Gap,
    Gaps,
    HarmonizationResults,
    MetricFigures,
    Scanners,
    Share,
    Told,
    Verdict,
    read,
    write,
)
from normfed_simulation.domain_shift.page import write_page
from normfed_simulation.domain_shift.table import shift_table
from normfed_simulation.domain_shift.words import words

APPROACHES = ("local", "borrowed", "leave-one-site-out", "federated", "pooled", "ditto")
SURE, UNSURE = (0.05, 0.15), (-0.05, 0.15)


def compared(mean: float, verdict: Verdict) -> Compared:
    return Compared(mean=mean, ci95=SURE if verdict != "tied" else UNSURE, verdict=verdict)


def approach(mean: float, over_none: Compared | None, over_federated: Compared | None) -> ApproachFigures:
    return ApproachFigures(
        n=36,
        mean=mean,
        ci95=(mean - 0.1, mean + 0.1),
        sites={"a": mean, "b": mean - 0.1},
        worst_site={"mean": mean - 0.1, "site": "b"},  # type: ignore[arg-type]
        over_none=over_none,
        over_federated=over_federated,
    )


def gaps(ends: tuple[float, float], n: int, **shares: Share) -> Gaps:
    mean = sum(ends) / 2
    found = Gap(n=n, seen=0.6, unseen=0.6 - mean, gap={"mean": mean, "ci95": ends}, **shares)  # type: ignore[arg-type]
    return Gaps(all=found, sites={"a": found, "b": found})


def harmonization(
    ends: tuple[float, float] = SURE,
    n: int = 36,
    over_none: Compared | None = None,
    personalised: Compared | None = None,
    accuracy: float = 0.9,
    ends_of_accuracy: tuple[float, float] = (0.8, 0.95),
    p: float = 0.01,
    **shares: Share,
) -> HarmonizationResults:
    figures = MetricFigures(
        approaches={
            name: approach(0.6, over_none, personalised if name == "ditto" else None)
            for name in APPROACHES
            if name != "ditto" or personalised is not None
        },
        gaps={"federated": gaps(ends, n, **shares), "local": gaps(ends, n, **shares)},
        matrix={"a": {"a": 0.6, "b": 0.5}, "b": {"a": 0.4, "b": None}},
    )
    told = Told(what="features", accuracy=accuracy, ci95=ends_of_accuracy, chance=0.5, p_value=p, people=40, scanners=2)
    return HarmonizationResults(
        transforms=({"name": "nyul"},) if over_none else (),
        run="runs/x",
        figures={"auprc": figures, "auroc": figures},
        scanners=Scanners(
            told=(told, Told(what="images", why="too few people")),
            ages=(AgeFit(across=False, r2=0.5, ci95=(0.4, 0.6)), AgeFit(across=True, r2=-0.2, ci95=(-0.4, 0.1))),
            slopes=(),
            remarks=("Scanners left out: c 1",),
        ),
    )


def study(**harmonizations: HarmonizationResults) -> DomainShift:
    return DomainShift(
        study="made-up",
        digest="0" * 64,
        seed=1,
        trainings=1,
        drawn=False,
        metrics={"auprc": "average precision", "auroc": "AUROC"},
        titles={name: name for name in APPROACHES},
        sites=("a", "b"),
        trained=("a", "b"),
        tested=("a", "b"),
        remarks=("ditto is left out",),
        words={"All": ("<all> is said.",)},
        harmonizations=harmonizations,
    )


def said(**harmonizations: HarmonizationResults) -> str:
    return " ".join(sentence for said in words(study(**harmonizations)).values() for sentence in said)


def test_a_loss_beyond_its_interval_is_a_loss_and_else_a_tie() -> None:
    assert "a loss of 0.100 (95 % +0.050 to +0.150)" in said(none=harmonization(SURE))
    tied = said(none=harmonization(UNSURE))
    assert "a tie" in tied
    assert "a loss of" not in tied
    assert "no loss, but 0.100 more" in said(none=harmonization((-0.15, -0.05)))


def test_a_single_training_is_named_where_another_would_differ(tmp_path: Path) -> None:
    one = study(none=harmonization())
    assert "trained once" not in " ".join(words(one)["What is lost"])
    assert "in which nothing is drawn" in write_page(tmp_path, one).read_text()
    drawn = one.model_copy(update={"drawn": True})
    assert "Every model was trained once" in " ".join(words(drawn)["What is lost"])
    assert "nothing is drawn" not in write_page(tmp_path, drawn).read_text()


def test_of_so_few_patients_nothing_is_said_to_be_lost() -> None:
    text = said(none=harmonization(SURE, n=5))
    assert "so few patients say nothing" in text
    assert "loss of" not in text


@pytest.mark.parametrize("verdict", ["tied", "worse"])
def test_a_harmonization_that_is_not_beyond_its_interval_is_never_better(verdict: Verdict) -> None:
    text = said(none=harmonization(), nyul=harmonization(over_none=compared(0.1, verdict)))
    assert "No harmonization is better than none" in text
    assert ("Tied with none: nyul" in text) == (verdict == "tied")
    assert ("Worse than none there: nyul" in text) == (verdict == "worse")


def test_what_is_won_back_has_its_interval_and_what_is_not_defined_its_reason_once() -> None:
    won = Share(value=0.5, ci95=(0.2, 0.8))
    text = said(none=harmonization(), nyul=harmonization(over_none=compared(0.1, "better"), closed=won, won_back=won))
    assert "At the unseen site nyul (0.600, +0.100, 95 % +0.050 to +0.150) is better than none." in text
    assert "Share of the federation's loss that is won back at the unseen site: nyul 50 % (20 to 80)." in text
    none = Share(why="there is no gap")
    text = said(none=harmonization(), nyul=harmonization(over_none=compared(0.1, "tied"), closed=none, won_back=none))
    assert text.count("there is no gap") == 1
    assert "nyul 50 %" not in text


def test_where_no_site_trains_and_tests_the_federation_stands_beside_the_best_site_alone() -> None:
    one = harmonization().figures["auprc"]
    approaches = one.approaches | {
        "only x": approach(0.7, None, compared(0.1, "better")),
        "only y": approach(0.5, None, compared(-0.1, "tied")),
    }
    strange = one.model_copy(update={"gaps": {}, "approaches": approaches})
    none = harmonization().model_copy(update={"figures": {"auprc": strange, "auroc": strange}})
    text = said(none=none)
    assert "none of which trains" in text
    assert "the best site alone, x, picked on these very patients, 0.700; against the federation that is better" in text
    assert "loss" not in text


def test_a_gap_that_closes_by_getting_worse_at_home_is_called_so() -> None:
    closed, won = Share(value=1.0, ci95=(0.8, 1.2)), Share(value=-0.1, ci95=(-0.3, 0.1))
    text = said(none=harmonization(), nyul=harmonization(over_none=compared(0.0, "tied"), closed=closed, won_back=won))
    assert "With nyul seen and unseen are closer together only since the model lost where it was trained" in text


def test_personalised_models_stand_beside_the_federated_one() -> None:
    assert "ditto tied (+0.010, 95 % −0.050 to +0.150)" in said(none=harmonization(personalised=compared(0.01, "tied")))


def test_a_scanner_that_is_not_told_from_chance_is_not_above_it() -> None:
    text = said(none=harmonization(), nyul=harmonization(over_none=compared(0, "tied"), accuracy=0.55, p=0.3))
    assert "90 % without harmonization (p = 0.01, above chance)" in text
    assert "55 % after nyul (p = 0.30, not told from chance); chance is 50 %" in text
    assert "−0.200 without harmonization" in text  # R2 across scanners, not within


def test_a_scanner_that_is_told_worse_than_by_chance_is_not_called_gone() -> None:
    worse = harmonization(over_none=compared(0, "tied"), accuracy=0.1, ends_of_accuracy=(0.0, 0.2), p=1.0)
    text = said(none=harmonization(), combat=worse)
    assert "10 % after combat (p = 1.00, below chance)" in text
    assert "Below chance is no sign of scans without a scanner" in text
    assert "Below chance" not in said(none=harmonization())


def test_what_failed_says_why_and_the_others_are_told_of() -> None:
    failed = HarmonizationResults(transforms=(), run="runs/combat", failed="b has 2 people")
    text = said(none=harmonization(), combat=failed)
    assert "combat has no figures: b has 2 people." in text
    assert "a loss of 0.100" in text
    assert "nothing to compare with" in said(none=failed, nyul=harmonization(over_none=compared(0, "tied")))


def test_the_table_fits_80_columns_and_the_page_holds_the_words_escaped_and_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    failed = HarmonizationResults(transforms=(), run="runs/combat", failed="b has 2 people")
    results = study(none=harmonization(), nyul=harmonization(over_none=compared(-0.123, "worse")), combat=failed)
    results = results.model_copy(
        update={"harmonizations": {**results.harmonizations, "fourier-amplitude": results.harmonizations["nyul"]}}
    )
    out = io.StringIO()
    Console(file=out, width=80).print(shift_table(results))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "balanced accuracy on features" in " ".join(out.getvalue().split())
    assert next(line for line in lines if line.split()[:1] == ["nyul"]).split()[1:4] == [".600"] * 3
    page = write_page(tmp_path, results).read_text()
    assert "&lt;all&gt; is said." in page
    assert "ditto is left out" in page
    assert "combat has no figures: b has 2 people" in page
    assert not {"http:", "https:", "src="} & set(page.split('"'))
    write(tmp_path, results)
    assert read(tmp_path) == results


def test_the_shipped_schema_is_that_of_the_models_and_another_validator_believes_what_is_written() -> None:
    shipped = json.loads(schema.PATH.read_text())
    assert shipped == schema.schema(), f"{schema.PATH.name} is not of these models; run: make schemas"
    written = json.loads(study(none=harmonization()).model_dump_json())
    assert jsonschema.Draft202012Validator(shipped).is_valid(written)
    assert not jsonschema.Draft202012Validator(shipped).is_valid({**written, "seed": "one"})


def test_every_figure_may_be_absent(tmp_path: Path) -> None:
    empty: dict[str, Any] = {"mean": None, "ci95": (None, None)}
    nothing = ApproachFigures(n=0, mean=None, ci95=(None, None), sites={}, worst_site=None)
    gap = Gap(n=0, seen=None, unseen=None, gap=empty)  # type: ignore[arg-type]
    one = HarmonizationResults(
        transforms=(),
        run="runs/none",
        figures={
            metric: MetricFigures(
                approaches=dict.fromkeys(APPROACHES, nothing),
                gaps={"federated": Gaps(all=gap, sites={"a": gap, "b": gap})},
                matrix={"a": {}, "b": {}},
            )
            for metric in ("auprc", "auroc")
        },
        scanners=Scanners(told=(Told(what="features", why="x"), Told(what="images", why="x")), ages=(), slopes=()),
    )
    results = study(none=one)
    assert words(results)
    assert write_page(tmp_path, results).exists()
    Console(file=io.StringIO(), width=80).print(shift_table(results))


def test_an_r2_far_below_zero_keeps_its_digits() -> None:
    """As of a regression on scanners that it never saw."""
    one, out = harmonization(), io.StringIO()
    assert one.scanners is not None
    scanners = one.scanners.model_copy(update={"ages": (AgeFit(across=True, r2=-10.25),)})
    found = study(none=one.model_copy(update={"scanners": scanners}))
    Console(file=out, width=80).print(shift_table(found))
    assert "-10.250" in out.getvalue()
