"""The table beside a map: what BIDS asks of one, and what its columns say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from normfed_client.scoring.cluster_table import write_clusters
from normfed_common.metrics.cluster_list import Cluster
from normfed_common.metrics.tissue import CLASSES

FIRST = Cluster(1, 1234.56, 7.1234567, 3.0, 0.000123456, (-12.34, 5.0, 60.06), "white", hit=True)
SECOND = Cluster(2, 40.0, 2.0, 1.5, float("nan"), (0.0, -1.0, 2.0), "rim", hit=False)
TO_SCAN = np.array([[2.0, 0, 0, 10], [0, 1, 0, -5], [0, 0, 1, 20], [0, 0, 0, 1]])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_row_for_each_cluster_with_a_word_for_what_is_not_known(tmp_path: Path) -> None:
    path = write_clusters([FIRST, SECOND], tmp_path / "sub-1_space-T1w_desc-anomaly_map.nii.gz", TO_SCAN)
    assert path.name == "sub-1_space-T1w_desc-anomaly_clusters.tsv"
    first, second = rows(path)
    *figures, place = first.values()
    in_scan, in_mni = ["-12.3", "5.0", "60.1"], ["-11.2", "10.0", "40.1"]
    assert figures == ["1", "1.235", "7.12346", "3", "0.000123", *in_scan, *in_mni, "white"]
    assert place.startswith("left ")
    assert "white matter" in place
    assert second["p_value"] == "n/a"
    assert "hit" not in first  # nobody has drawn a lesion


def test_the_sidecar_describes_the_columns_and_names_the_classes(tmp_path: Path) -> None:
    path = write_clusters([FIRST], tmp_path / "sub-1_desc-anomaly_map.nii.gz", np.eye(4))
    told = json.loads((tmp_path / "sub-1_desc-anomaly_clusters.json").read_text())
    assert list(told) == list(rows(path)[0])
    assert all(column["Description"] for column in told.values())
    assert set(told["tissue"]["Levels"]) == set(CLASSES)


def test_no_cluster_is_a_table_without_rows(tmp_path: Path) -> None:
    path = write_clusters([], tmp_path / "sub-1_desc-anomaly_map.nii.gz", np.eye(4))
    assert path.read_text().split() == [*json.loads(path.with_suffix(".json").read_text())]
