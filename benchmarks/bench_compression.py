"""What smaller messages cost: megabytes a round and AUROC of the demo under every compression, for both networks.

The auto-encoder works on slices of 64 x 64, twenty a person and round, so that it trains in minutes on two cores. Runs
`normfed compare` twice; the run folders stay in --out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from common import machine

from normfed_common.shipped import shipped_study

KINDS = ("fp16", "bf16", "int8")
AUTOENCODER = {"name": "autoencoder", "size": 64, "slices_per_subject": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "normfed-compression")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print(machine())
    demo = yaml.safe_load(shipped_study("siamese").read_text())
    for model in (demo["model"], AUTOENCODER):
        path = out / f"{model['name']}.yaml"
        path.write_text(yaml.safe_dump({**demo, "model": model, "name": f"compression-{model['name']}"}))
        normfed = Path(sys.executable).parent / "normfed"
        command = [str(normfed), "compare", str(path), "--compressions", ",".join(KINDS), "--out", str(out), "--quiet"]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        rows = {row["name"]: row for row in json.loads((Path(report).parent / "metrics.json").read_text())["league"]}
        for name in ("federated", *(f"fedavg+{kind}" for kind in KINDS), "local", "pooled"):
            row = rows[name]
            print(
                f"{model['name']:12} {name:12} {row['megabytes_per_round']:8.3f} MB a round, "
                f"{row['seconds_per_round']:6.1f} s of the sites, AUROC {row['auroc']['mean']:.4f}, "
                f"average precision {row['auprc']['mean']:.4f}, worst site {row['auroc']['worst_site']['mean']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
