"""The alerts ask for figures that the monitor has, and say what to do.

When they fire is tested by `promtool test rules deploy/prometheus/normfed.test.yml`, here too where promtool is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from normfed_server.monitor.figures import exposition

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
(GROUP,) = yaml.safe_load((FOLDER / "normfed.rules.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
HISTORY = {"seconds": 1.0, "megabytes": {"out": 1.0, "back": 1.0}, "energy_wh": None, "loss": {"a": 0.1}}
STATE = {
    "services": {"superlink": {"pid": 1, "restarts": 2}},
    "certificate_days": 300.0,
    "sites": [{"name": "a", "state": "accepted", "online": True}],
    "runs": [{"name": "r", "state": "open", "round": 1, "rounds": 5, "history": [HISTORY]}],
}


def test_every_figure_that_an_alert_asks_for_is_one_that_the_monitor_has() -> None:
    there = set(re.findall(r"^(normfed_\w+)", exposition(STATE), re.MULTILINE))
    asked = {name for rule in RULES for name in re.findall(r"\bnormfed_\w+", rule["expr"])}
    assert len(asked) > 5
    assert asked <= there


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "todo"}


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((FOLDER / "normfed.test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should_and_not_else() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "normfed.test.yml"], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
