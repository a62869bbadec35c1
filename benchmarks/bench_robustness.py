"""One malicious site of the demo's six, under every attack: what each strategy makes of it.

For every strategy and attack: the mean training loss of the five honest sites in the last round, and the mean AUROC
over all patients. Survived means a loss at most 1.5 times that of the same strategy without an attack. Runs `normfed
compare` four times, some two minutes each on two cores; the run folders stay in --out.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from common import machine

from normfed_common.shipped import shipped_study

STRATEGIES = ("median", "trimmed-mean", "krum", "multi-krum", "norm-clipping", "fedavg")
MALICIOUS, ATTACKS = "ge-3T", "sign-flip,scale,noise"
SURVIVED = 1.5


def run(study: Path, attack: str | None, out: Path) -> dict[str, Any]:
    """The metrics of one comparison."""
    normfed = Path(sys.executable).parent / "normfed"
    command = [str(normfed), "compare", str(study), "--strategies", ",".join((*STRATEGIES, "local"))]
    command += ["--out", str(out), "--quiet"] + (["--attack", f"{MALICIOUS}:{attack}"] if attack else [])
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    metrics: dict[str, Any] = json.loads((Path(report).parent / "metrics.json").read_text())
    return metrics


def honest_loss(metrics: dict[str, Any], arm: str) -> float:
    """Mean over the honest sites in the last round; infinite where one of them diverged."""
    history = metrics["rounds"] if arm == "federated" else metrics["rounds_of"][arm]
    last = history[-1]["loss"]
    losses = [last.get(site) for site in history[-1]["outcomes"] if site != MALICIOUS]
    return sum(losses) / len(losses) if all(loss is not None for loss in losses) else math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "normfed-robustness")
    parser.add_argument("--attacks", default=ATTACKS, help="with commas")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    print(machine())
    study = yaml.safe_load(shipped_study("siamese").read_text())
    study["comparisons"] = {"baselines": []}
    study["federation"]["quorum"] = 1
    path = out / "robustness.yaml"
    path.write_text(yaml.safe_dump(study))
    reference: dict[str, float] = {}
    for attack in (None, *arguments.attacks.split(",")):
        metrics = run(path, attack, out)
        rows = {row["name"]: row for row in metrics["league"]}
        for strategy in STRATEGIES:
            arm = "federated" if strategy == STRATEGIES[0] else strategy
            if arm in metrics["failed"]:
                loss, auroc = math.inf, math.nan
            else:
                loss, auroc = honest_loss(metrics, arm), rows[arm]["auroc"]["mean"]
            reference.setdefault(strategy, loss)
            verdict = "" if attack is None else "survived" if loss <= SURVIVED * reference[strategy] else "BROKEN"
            print(
                f"{attack or 'no attack':10} {strategy:14} loss {loss:12.2f}  AUROC {auroc:.3f}  {verdict}", flush=True
            )


if __name__ == "__main__":
    main()
