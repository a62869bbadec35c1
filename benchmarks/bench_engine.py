"""Rounds on the engine `local` against the same training steps in a bare torch loop, with 6 and with 23 sites.

Both train the same sites with the demo's model in this process; the engine adds messages, checks, averaging and a
checkpoint a round. They take turns, round by round, so that a drifting machine hits both alike. The limit is 5 %.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from common import machine

from normfed_client.hospital.simulated import SITES_VARIABLE
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.cohort import assign
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation import seeds
from normfed_common.shipped import shipped_study
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import PhantomSite
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.arms.training import ArmTraining
from normfed_server.events.kinds import Event, RoundDone
from normfed_server.events.log import EventLog, subscribe
from normfed_server.runs.folder import begin
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_simulation import run_folder as runs
from normfed_simulation.engines.local import LocalGrid, identify
from normfed_simulation.phantom import hospitals

ROUNDS, LIMIT = 4, 0.05


def study_with(sites: int) -> StudyConfig:
    """The demo, with so many sites of four people."""
    demo = load_study(shipped_study("siamese"))
    assert demo.data.phantom is not None
    made = tuple(PhantomSite(name=f"site-{i:02d}", vendor="siemens", field_tesla=3.0, controls=4) for i in range(sites))
    data = demo.data.model_copy(
        update={"phantom": demo.data.phantom.model_copy(update={"sites": made}), "held_out_people": 0}
    )
    federation = demo.federation.model_copy(update={"rounds": ROUNDS + 1})
    return demo.model_copy(update={"data": data, "name": f"engine-{sites}", "federation": federation})


def bare_round(sites: list[Site], number: int) -> float:
    """The same steps with nothing around them."""
    federation = sites[0].study.federation
    begin = time.perf_counter()
    for site in sites:
        model, cohort = site.model(site.study.model, site.study.seed), site.training_cohort()
        assert model.network is not None
        optimiser = torch.optim.Adam(model.network.parameters(), lr=federation.learning_rate, fused=True)
        rng = seeds.generator(site.study.seed, "training", site.config.name, number, 0)
        for batch in model.batches("training", cohort, rng):
            optimiser.zero_grad(set_to_none=True)
            model.loss("training", batch, torch.Generator()).mean().backward()
            optimiser.step()
    return time.perf_counter() - begin


def measure(count: int, folder: Path) -> None:
    """Print the overhead with ``count`` sites."""
    study = study_with(count)
    root = default_root() / "datasets" / "phantom" / hospitals.digest(study.data.phantom, study.seed)  # type: ignore[arg-type]
    hospitals.write(study.data.phantom, study.seed, root, workers=2)  # type: ignore[arg-type]
    names = list(read_dataset(root).sites())
    visits = [v for name, found in read_dataset(root).sites().items() for v in assign(found, name, study).everybody()]
    recipe = Recipe(study.preprocessing, study.data.modalities, None)
    prepare_all(visits, recipe, default_root() / "scans", workers=2)
    no_pooled = study.comparisons.model_copy(update={"pooled": False})
    run = begin(study.model_copy(update={"comparisons": no_pooled}), folder)
    configs = runs.write_site_configs(run, root, names, default_root() / "scans", "cpu", {})
    os.environ[SITES_VARIABLE] = str(run.sites_file)
    identify()
    grid = LocalGrid(count, workers=0)
    arm = Arm(FEDERATED, study.model, tuple(sorted(names)), {})
    sites = [Site(config, run.study) for config in configs]
    model = sites[0].model(study.model, study.seed)
    path = run.folder / "arms" / FEDERATED / "progress.safetensors"
    bare: list[float] = []
    events = EventLog(run.folder / "events.jsonl")

    def after_each_round(event: Event) -> None:
        if isinstance(event, RoundDone):
            bare.append(bare_round(sites, event.round))

    stop = subscribe(after_each_round)
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(run.study))
    roster.wait_for(count)
    progress = ArmTraining(
        arm, model, lambda _: {}, RunContext(Letterhead(run.study), roster, asker, events), path
    ).run()
    stop()
    engine = [entry["seconds"] for entry in progress.history]
    # The first round opens sites and fills caches.
    overhead = float(np.median(np.array(engine[1:]) / np.array(bare[1:]))) - 1
    print(
        f"{count} sites: engine {np.median(engine[1:]):.2f} s a round, bare {np.median(bare[1:]):.2f} s, "
        f"overhead {overhead:+.1%}; limit {LIMIT:.0%}: {'met' if overhead <= LIMIT else 'MISSED'}"
    )


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for count in (6, 23):
            measure(count, Path(folder))


if __name__ == "__main__":
    main()
