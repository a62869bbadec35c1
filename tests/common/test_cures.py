"""The operator's table of codes, as the guide has it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import normfed_common.cures as cures_of
from normfed_common.cures import Cure, cures, guide
from normfed_common.foundation.errors import SiteCode, UserError

ROOT = Path(__file__).parents[2]


def test_every_code_has_its_cure_in_the_guide() -> None:
    found = cures(guide())
    assert found.keys() == {int(code) for code in SiteCode}
    assert found[208].remedy == "fix that there; then `normfed server resume RUN`"


def test_where_the_guide_is_missing_that_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cures_of, "TABLE", "nowhere.md")
    with pytest.raises(UserError, match=r"shipped_guides/nowhere\.md: is missing, .* Install normfed again\."):
        guide()


def test_links_are_their_words_on_a_terminal() -> None:
    assert Cure("see [upgrading](upgrading.md#now), or not", "[a](b) and [c](d)").plain == Cure(
        "see upgrading, or not", "a and c"
    )


def test_the_guide_comes_with_the_wheel() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = build["force-include"][str(guide().relative_to(ROOT))]
    assert shipped == f"normfed_common/shipped_guides/{guide().name}"
