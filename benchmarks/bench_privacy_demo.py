"""What differential privacy costs in detection at synthetic hospitals, by epsilon, over seeds.

    python benchmarks/bench_privacy_demo.py [--study FILE] [--models NAME ...] [--epsilon E ...] [--seeds N ...]
        [--workers N] [--out DIR]

Every run is `normfed simulate` with another line of privacy, and nothing beside the federation but the intensity
baseline with the same post-processing. A seed is another set of people, another initialisation and other noise.
Nothing is bounded, and no noise added, where epsilon is 0. The run folders stay where --out is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from bench_models import markdown, told
from bench_privacy import RATES, STEPS
from common import machine

STUDY = Path(__file__).parent.parent / "studies" / "demo.yaml"
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "siamese": {"rounds": 4, "learning_rate": 0.003},
    "synthetic-anomalies": {"rounds": 10, "learning_rate": 0.003},
}
FIGURES = ("auprc", "auroc", "best_dice", "dice")


def variant(study: Mapping[str, Any], model: str, epsilon: float) -> dict[str, Any]:
    """The study with this model and this epsilon, and one baseline."""
    post = study["model"].get("postprocessing", {})
    network = NETWORKS.get(model, {})
    if network and epsilon:
        network = {"rounds": 1, "optimiser": "sgd", "learning_rate": RATES[model]}
    privacy = {"epsilon": epsilon, **(STEPS if network else {})} if epsilon else {}
    entry = study["model"] if study["model"]["name"] == model else {"name": model, "postprocessing": post}
    return {
        **study,
        "model": entry,
        "federation": {**study["federation"], **network},
        "comparisons": {
            "local": False,
            "pooled": False,
            "baselines": [{"name": "intensity", "scale": "units", "postprocessing": post}],
        },
        "privacy": privacy,
    }


def run(study: Mapping[str, Any], seed: int, workers: int, folder: Path) -> dict[str, Any]:
    """The figures of one simulation, by model."""
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(json.dumps(study))  # which is YAML, without anchors
    words = ["simulate", str(folder / "study.yaml"), "--seed", str(seed), "--workers", str(workers), "--quiet"]
    command = [sys.executable, "-m", "normfed_common.cli", *words, "--out", str(folder / "runs")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (results,) = (folder / "runs").glob("*/metrics.json")
    found: dict[str, Any] = json.loads(results.read_text())["evaluation"]
    return found


def cells(draws: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each figure the mean over seeds and, of the average precision, its lowest and highest."""
    found = []
    for name in FIGURES:
        means = [draw["all"][name]["mean"] for draw in draws]
        span = f" ({min(means):.3f} to {max(means):.3f})" if name == FIGURES[0] and len(means) > 1 else ""
        found.append(f"{np.mean(means):.3f}{span}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--models", nargs="+", default=("matched-filter", "atlas", *NETWORKS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=(0, 16, 8, 4, 2, 1))
    parser.add_argument("--seeds", type=int, nargs="+", default=(2026, 2027, 2028))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    study = yaml.safe_load(given.study.read_text())
    print(machine())
    print("\n".join(markdown(["model", "epsilon", "AP", "AUROC", "best Dice", "Dice"], [])), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        baselines = list[dict[str, Any]]()
        for model in given.models:
            for epsilon in given.epsilon:
                draws = []
                for seed in given.seeds:
                    told(f"{model}, epsilon {epsilon:g}, seed {seed}")
                    place = folder / f"{model}-{epsilon:g}-{seed}"
                    found = run(variant(study, model, epsilon), seed, given.workers, place)
                    draws.append(found.pop("federated"))
                    if len(baselines) < len(given.seeds):
                        baselines += found.values()
                row = [model, f"{epsilon:g}" if epsilon else "none", *cells(draws)]
                print(markdown(row, [])[0], flush=True)
        print(markdown(["intensity", "none", *cells(baselines)], [])[0], flush=True)


if __name__ == "__main__":
    main()
