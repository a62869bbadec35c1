"""What another scanner costs a network, and what wins it back: harmonization, FedBN, Ditto, fine-tuning.

    python benchmarks/bench_domain_shift_networks.py --data REAL [--networks NAME ...] [--repeats 3] [--device cuda]

Each network takes the place of the model of a study, which `normfed study domain-shift` then runs: real FLAIR of six
sites (`studies/real-flair-network.yaml`), or with `--study six` the shipped six synthetic scanners. Everything is over
the same people; intervals are of 95 %, by resampling people, with every training's difference beside them. A folder
that stands is gone on with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from common import machine

from normfed_common.algorithms.arms import FEDERATED, OWN
from normfed_common.shipped import shipped_study
from normfed_server.results.figures import Difference
from normfed_server.results.models import UNSEEN
from normfed_simulation.domain_shift.layout import Compared, DomainShift, Gap, read

HERE = Path(__file__).resolve().parents[1]
STUDIES = {"real-flair": HERE / "studies" / "real-flair-network.yaml", "six": shipped_study("domain-shift")}
COMMAND = "from normfed_common.cli import main; main()"
PRIOR = {"edge_mm": 5, "grey_factor": 0.4}
# `learnt` weighs the network's logit beside the scan's own brightness; the default's .0625 was chosen on these scans.
NETWORKS: dict[str, dict[str, Any]] = {
    "synthetic-anomalies": {"name": "synthetic-anomalies", "postprocessing": PRIOR},
    "synthetic-anomalies, learnt 1": {"name": "synthetic-anomalies", "learnt": 1.0, "postprocessing": PRIOR},
    "autoencoder": {
        "name": "autoencoder",
        "filters": 8,
        "most_filters": 64,
        "latent": 64,
        "slices_per_subject": 16,
        "postprocessing": PRIOR,
    },
    "siamese": {
        "name": "siamese",
        "architecture": "linear",
        "patch_size": 9,
        "pairs_per_subject": 800,
        "batch_size": 50,
        "one_class": {"fit_on": "patient"},
        "postprocessing": PRIOR,
    },
}
LEARNING_RATE = 3e-3
METRIC = "auprc"
COLUMNS = (
    "own site's model at home",
    "others' own",
    "lost",
    "federated",
    "without the site",
    "lost",
    "won back",
    "unseen less none",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the real brains; needed by real-flair")
    parser.add_argument("--study", choices=STUDIES, default="real-flair")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--harmonizations", default="nyul,histogram-template", help="as of normfed study domain-shift")
    parser.add_argument("--repeats", type=int, default=3, help="trainings of every model")
    parser.add_argument("--rounds", type=int, default=10, help="of training")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="of each run of a harmonization")
    parser.add_argument("--parallel", type=int, help="harmonizations at the same time")
    parser.add_argument("--out", type=Path, default=Path("runs/domain-shift-networks"))
    options = parser.parse_args()
    if options.study == "real-flair" and options.data is None:
        parser.error("--data: real-flair needs the real brains")
    print(machine(), flush=True)
    for name in options.networks:
        begun = time.perf_counter()
        results = run(name, options)
        tell(name, results, time.perf_counter() - begun)


def run(name: str, options: argparse.Namespace) -> DomainShift:
    """The finished study of a network."""
    place = options.out / f"{options.study}-{name.replace(', ', '-').replace(' ', '-')}"
    place.mkdir(parents=True, exist_ok=True)
    standing = sorted(place.glob("*/domain-shift.yaml"))
    if standing:
        asked = ["--resume", str(standing[-1].parent)]
    else:
        asked = [str(written(name, options, place)), "--out", str(place), "--harmonizations", options.harmonizations]
        asked += ["--repeats", str(options.repeats)]
    for option in ("data", "device", "workers", "parallel"):
        value = getattr(options, option)
        asked += [] if value is None else [f"--{option}", str(value)]
    command = [sys.executable, "-c", COMMAND, "study", "domain-shift", *asked, "--quiet"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return read(Path(done.stdout.strip()).parent)


def written(name: str, options: argparse.Namespace, place: Path) -> Path:
    """The study with the network as its model, and with rounds and a learning rate for it."""
    study = yaml.safe_load(STUDIES[options.study].read_text())
    study["model"] = NETWORKS[name]
    study["federation"] |= {"rounds": options.rounds, "learning_rate": LEARNING_RATE}
    file = place / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    return file


def tell(name: str, results: DomainShift, seconds: float) -> None:
    """Two tables of one network."""
    print(f"\n{name}: {results.trainings} training(s), {len(results.sites)} sites, {seconds / 60:.1f} minutes\n")
    row("AP", *COLUMNS)
    row(*["---"] * (1 + len(COLUMNS)))
    found = {label: one.figures[METRIC] for label, one in results.harmonizations.items() if not one.failed}
    for label, figures in found.items():
        single, together = figures.gaps[OWN].all, figures.gaps[FEDERATED].all
        row(label, *both(single), *both(together), share(together), against(figures.approaches[UNSEEN].over_none))
    print()
    row("less the federated model", *found)
    row(*["---"] * (1 + len(found)))
    for approach, title in results.titles.items():
        served = [figures.approaches.get(approach) for figures in found.values()]
        row(title, *(against(None if one is None else one.over_federated) for one in served))
    for label, one in results.harmonizations.items():
        if one.failed:
            print(f"{label} failed: {one.failed}")
    sys.stdout.flush()


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def both(gap: Gap) -> list[str]:
    """Seen, unseen, and what is lost between them."""
    each = "" if gap.trainings is None else f"; trainings {', '.join(f'{mean:+.3f}' for mean in gap.trainings.means)}"
    return [f"{gap.seen:.3f}", f"{gap.unseen:.3f}", f"{gap.gap.mean:+.3f} {interval(gap.gap)}{each}"]


def share(gap: Gap) -> str:
    """Of the loss without harmonization, in percent."""
    found = gap.won_back
    if found is None or found.value is None or found.ci95 is None:
        return "–"
    low, high = (float("nan") if end is None else end for end in found.ci95)
    return f"{100 * found.value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def against(found: Compared | None) -> str:
    return "–" if found is None else f"{found.mean:+.3f} {interval(found)}, {found.verdict}"


def interval(found: Difference | Compared) -> str:
    low, high = found.ci95
    return f"({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
