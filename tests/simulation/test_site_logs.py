"""An error of a simulation ends with what the sites that it names wrote into their own logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_client.answering.journal import Journal
from normfed_common.foundation.errors import NormfedError, RunError, SiteCode, SiteError
from normfed_server.sites.asking import SiteFailed, describe
from normfed_simulation.site_logs import quoted

INTERNAL, MAP = describe(SiteCode.INTERNAL), describe(SiteCode.MAP_UNUSABLE)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Sites a and b had exceptions, the latter after another, and c has a map that is not one."""
    for site, error in {
        "a": TypeError("no loss"),
        "b": KeyError("old"),
        "c": SiteError(SiteCode.MAP_UNUSABLE, "sub-1: the anomaly map is not finite"),
    }.items():
        code = error.code if isinstance(error, SiteError) else SiteCode.INTERNAL
        Journal(tmp_path / "sites" / site).refused("train.round", code, error)
    Journal(tmp_path / "sites" / "b").refused("evaluate.score", SiteCode.INTERNAL, ValueError("two\nlines"))
    return tmp_path


def said(run: Path, error: NormfedError) -> str:
    with pytest.raises(RunError) as caught, quoted(run):
        raise error
    assert caught.value.__cause__ is error
    first, _, rest = str(caught.value).partition("\n")
    assert first == str(error)
    return rest


def test_every_code_is_told_of_by_the_first_site_that_is_named_with_it(run: Path) -> None:
    error = RunError(f"Round 1 of federated: 0 of 3. a: {INTERNAL}; b: {INTERNAL}; c: {MAP}. Fix that and resume.")
    assert said(run, error).splitlines() == [
        f"Site a's log ({run}/sites/a/site.log): TypeError: no loss",
        f"Site c's log ({run}/sites/c/site.log): sub-1: the anomaly map is not finite",
    ]


@pytest.mark.parametrize(
    "error",
    [
        SiteFailed("b", "evaluate.score of atlas", INTERNAL),
        RunError(f"Site b refuses: {INTERNAL}. Fix that."),
        RunError(f"atlas: no site gave figures. ab: {INTERNAL}; b: {INTERNAL}."),
    ],
    ids=["failed", "refuses", "listed"],
)
def test_the_last_refusal_is_told_of_the_site_that_is_named_and_of_no_other(run: Path, error: NormfedError) -> None:
    assert said(run, error) == f"Site b's log ({run}/sites/b/site.log): ValueError: two lines"


@pytest.mark.parametrize(
    "error",
    [
        RunError("Round 1 of federated: no training site is connected."),
        RunError(f"Round 1 of federated: a: {MAP}."),
        SiteFailed("a", "train.sums of atlas", "its answer cannot be used: too small"),
        SiteFailed("d", "train.sums of atlas", INTERNAL),
    ],
    ids=["about no site", "another code", "an answer", "a site without a log"],
)
def test_an_error_that_no_log_explains_stays_as_it_is(run: Path, error: NormfedError) -> None:
    with pytest.raises(type(error)) as caught, quoted(run):
        raise error
    assert caught.value is error
