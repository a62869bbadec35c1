"""Links of the pages, in the repository and on the site."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from normfed_deploy.documentation.repository import linked, origin, outside, place, rewritten

PAGE = PurePosixPath("deploy/guides/how-to/studies.md")


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("[a](../privacy.md#attack-it)", "[a](../privacy.md#attack-it)"),
        ("[a](../../../benchmarks/RESULTS.md)", "[a](../repository/benchmarks/RESULTS.md)"),
        ("[a](../../../studies/demo.yaml)", "[a](../repository/studies/demo.yaml)"),
        ("![a](../officer/1-waits.png)", "![a](../officer/1-waits.png)"),
        ("[a](https://bids.neuroimaging.io)", "[a](https://bids.neuroimaging.io)"),
        ("[a](#here)", "[a](#here)"),
    ],
)
def test_a_link_out_of_the_guides_leads_to_a_copy_on_the_site(there: str, here: str) -> None:
    assert rewritten(there, PAGE) == here


def test_a_link_back_from_a_file_beside_the_guides_leads_to_the_page() -> None:
    assert (
        rewritten("[a](../deploy/guides/privacy.md)", PurePosixPath("benchmarks/RESULTS.md")) == "[a](../../privacy.md)"
    )


@pytest.mark.parametrize("path", ["deploy/guides/reference/study.md", "CONTRIBUTING.md", "tests/contracts/TABLE.md"])
def test_a_place_on_the_site_tells_where_it_comes_from(path: str) -> None:
    assert origin(place(PurePosixPath(path))) == PurePosixPath(path)


def test_what_stands_in_code_is_no_link() -> None:
    assert linked("```\n[a](nowhere.md)\n```\n[b](there.md)", PAGE) == {PurePosixPath("deploy/guides/how-to/there.md")}


def test_what_linked_files_link_to_comes_with_them(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "RESULTS.md").write_text("[more](more.md) [gone](gone.md) [back](../deploy/guides/a.md)")
    (tmp_path / "benchmarks" / "more.md").write_text("[again](RESULTS.md)")
    found = outside(tmp_path, {PAGE: "[figures](../../../benchmarks/RESULTS.md)"})
    assert {str(place) for place in found} == {"repository/benchmarks/RESULTS.md", "repository/benchmarks/more.md"}
