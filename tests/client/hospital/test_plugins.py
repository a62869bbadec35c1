"""What a hospital says of plug-ins in its site.yaml, and what its own people are told of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from plugins import Plugins

from normfed_client.hospital import plugins as hospital_plugins
from normfed_client.hospital.folder import Hospital, HospitalConfig, open_hospital
from normfed_client.operation.checking import let_in
from normfed_common.foundation.errors import SiteCode, SiteError, UserError

NEEDED = {"site": "north", "server": "fed.example.org:8000"}


def site_yaml(folder: Path, plugins: object) -> Path:
    folder.mkdir(exist_ok=True)
    text = yaml.safe_dump({**NEEDED, "data": str(folder), "plugins": plugins})
    (folder / "site.yaml").write_text(text)
    return folder


def hospital(folder: Path, **plugins: str) -> Hospital:
    return Hospital(folder, HospitalConfig(**NEEDED, data=folder, plugins=plugins))


def test_site_yaml_lists_plug_ins_by_name_and_version(tmp_path: Path) -> None:
    found = open_hospital(site_yaml(tmp_path / "site", {"normfed-unet": "1.2.0", "Other_One": "1!2.0rc1+cu12"}))
    assert found.config.plugins == {"normfed-unet": "1.2.0", "Other_One": "1!2.0rc1+cu12"}
    hash(found.site_config("r"))  # sites are kept open by it


@pytest.mark.parametrize(
    ("plugins", "fault"),
    [
        ({"x": 1.1}, "plugins.x: a version is text: write it in quotes (got '1.1')"),
        ({"x": 1}, "write it in quotes"),
        ({"x": ""}, "plugins.x"),
        ({"x": ">=1"}, "plugins.x"),
        ({"x": "1\n2"}, "plugins.x"),
        ({"../x": "1"}, "plugins.../x"),
        ({"x" * 101: "1"}, "plugins.x"),
        ({f"x{number}": "1" for number in range(101)}, "plugins"),
        (["x"], "plugins"),
    ],
    ids=["float", "whole", "empty", "range", "line", "path", "long", "many", "list"],
)
def test_what_is_no_name_or_no_version_is_refused(tmp_path: Path, plugins: object, fault: str) -> None:
    """1.10 without quotes is 1.1 in YAML."""
    with pytest.raises(UserError) as caught:
        open_hospital(site_yaml(tmp_path / "site", plugins))
    assert fault in str(caught.value)


def test_whatever_adds_to_a_kind_is_a_plug_in_and_is_looked_at_without_being_imported(plugins: Plugins) -> None:
    assert hospital_plugins.installed() == {}  # normfed itself is none
    plugins.install("Their.Unet", "1.2", {"normfed.models": {"u": "t:U", "a": "t:A"}, "normfed.steps": {"s": "t:S"}})
    plugins.install("pytest-thing", "1", {"pytest11": {"thing": "thing"}, "xnormfed.models": {"x": "x:x"}})
    (found,) = hospital_plugins.installed().values()
    assert (found.plugin.distribution, found.plugin.version) == ("their-unet", "1.2")
    assert found.adds == "models: a, models: u, steps: s"
    assert not plugins.imported("Their.Unet")


@pytest.mark.parametrize(
    ("listed", "wanted", "code"),
    [
        ({}, {}, None),
        ({"unet": "1.2"}, {"unet": "1.2"}, None),
        ({"U.Net": "1.2"}, {"u_net": "1.2"}, SiteCode.PLUGIN_REFUSED),  # u-net is not unet
        ({"UNET": "1.2"}, {"Unet": "1.2"}, None),
        ({"unet": "1.2"}, {"unet": "1.3"}, SiteCode.VERSION_DIFFERS),
        ({"unet": "1.3"}, {"unet": "1.3"}, SiteCode.PLUGIN_REFUSED),
        ({}, {"unet": "1.2"}, SiteCode.PLUGIN_REFUSED),
        ({"other": "1"}, {"other": "1"}, SiteCode.PLUGIN_REFUSED),
    ],
    ids=["none", "same", "another", "spelling", "server's", "listed", "not listed", "not installed"],
)
def test_a_study_is_served_where_its_plug_ins_are_installed_listed_and_the_servers(
    plugins: Plugins, listed: dict[str, str], wanted: dict[str, str], code: SiteCode | None
) -> None:
    plugins.install("unet", "1.2", {"normfed.models": {"unet": "unet:Unet"}})
    if code is None:
        hospital_plugins.check(listed, wanted)
    else:
        with pytest.raises(SiteError) as caught:
            hospital_plugins.check(listed, wanted)
        assert caught.value.code is code
        assert caught.value.detail
    assert not plugins.imported("unet")


def test_site_check_lists_every_plug_in_and_whether_it_is_let_in(plugins: Plugins, tmp_path: Path) -> None:
    plugins.install("one", "1", {"normfed.models": {"a": "one:A"}})
    plugins.install("two", "2", {"normfed.steps": {"b": "two:B"}})
    plugins.install("three", "3", {"normfed.metrics": {"c": "three:C"}})
    found = {finding.found: finding for finding in let_in(hospital(tmp_path, one="1", two="1.9", four="4"))}
    assert [(text, finding.severity) for text, finding in sorted(found.items())] == [
        ("one 1 (models: a): let in", 0),
        ("site.yaml lets four 4 in, which is not installed", 1),
        ("three 3 (metrics: c): not let in", 0),
        ("two 2 (steps: b): not let in; site.yaml lists its version 1.9", 1),
    ]
    assert found["three 3 (metrics: c): not let in"].copy == "  three: '3'"
    pasted = yaml.safe_load("plugins:\n" + found["three 3 (metrics: c): not let in"].copy)
    assert {f.severity for f in let_in(hospital(tmp_path, **pasted["plugins"])) if "three" in f.found} == {0}
    assert not any(plugins.imported(module) for module in ("one", "two", "three"))
