import csv
from collections import Counter
from pathlib import Path

import pytest

from normfed_common.studies import load_study

ROOT = Path(__file__).parents[2]
PARTITION = ROOT.parent / "shared" / "data" / "public-partitions" / "fets2022_partitioning_1.csv"


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_resolves_under_its_own_name(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_the_23_institutions_have_the_sizes_of_fets_2022() -> None:
    if not PARTITION.exists():
        pytest.skip(f"the official partition is not at {PARTITION}")
    with open(PARTITION) as file:
        sizes = Counter(int(row["Partition_ID"]) for row in csv.DictReader(file))
    study = load_study(ROOT / "studies" / "fets-sizes.yaml")
    assert study.data.phantom is not None
    found = {int(site.name.rpartition("-")[2]): site.controls - 1 for site in study.data.phantom.sites}
    total = sum(sizes.values())
    assert found == {site: max(2, round(42 * count / total)) for site, count in sizes.items()}
