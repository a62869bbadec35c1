import numpy as np
import pytest
from lesions import SHAPE, case, merged, ranked
from scipy import ndimage
from scipy.stats import wilcoxon
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve
from statsmodels.stats.multitest import multipletests
from summaries import PER_SCAN

from normfed_common.metrics import curves, histograms, segmentation, subjects
from normfed_common.metrics.summary import EVERYBODY, add, difference_interval, reportable_groups, summarise


def slow_aupro(scores: np.ndarray, lesion: np.ndarray, mask: np.ndarray, limit: float) -> float:
    """AUPRO threshold by threshold, as its definition reads."""
    labels, count = ndimage.label(lesion & mask, np.ones((3, 3, 3)))
    x, y = [0.0], [0.0]
    for threshold in np.unique(scores[mask])[::-1]:
        found = (scores >= threshold) & mask
        x.append((found & ~lesion).sum() / (mask & ~lesion).sum())
        y.append(np.mean([found[labels == k].mean() for k in range(1, count + 1)]))
    grid = np.concatenate([np.array(x)[np.array(x) <= limit], [limit]])
    return float(
        np.trapezoid(np.concatenate([np.array(y)[np.array(x) <= limit], [np.interp(limit, x, y)]]), grid) / limit
    )


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_voxel_metrics_equal_scikit_learns(seed: int, ties: bool) -> None:
    scores, lesion, mask = case(seed, ties)
    found = ranked(curves.curve(scores, lesion, mask))
    truth, values = lesion[mask], scores[mask]
    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
    keep = fpr <= 0.3
    plain = np.trapezoid(np.append(tpr[keep], np.interp(0.3, fpr, tpr)), np.append(fpr[keep], 0.3)) / 0.3
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert found["auroc30"] == pytest.approx(plain, abs=1e-12)
    assert found["auroc30_mcclish"] == pytest.approx(roc_auc_score(truth, values, max_fpr=0.3), abs=1e-12)
    assert found["auprc"] == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    assert found["best_dice"] == pytest.approx(max(f1_score(truth, values >= t) for t in np.unique(values)), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_aupro_equals_its_definition_threshold_by_threshold(seed: int) -> None:
    scores, lesion, mask = case(seed, ties=True)
    found = ranked(curves.curve(scores, lesion, mask))
    assert found["aupro"] == pytest.approx(slow_aupro(scores, lesion, mask, 1.0), abs=1e-10)
    assert found["aupro30"] == pytest.approx(slow_aupro(scores, lesion, mask, 0.3), abs=1e-10)


def test_aupro_counts_each_lesion_the_same_whatever_its_size() -> None:
    lesion = np.zeros((20, 20, 20), bool)
    lesion[2:10, 2:10, 2:10] = True
    lesion[15, 15, 15] = True
    scores = np.where(lesion, 1.0, 0.0)
    scores[15, 15, 15] = -1.0  # the small one is missed entirely
    found = ranked(curves.curve(scores, lesion, np.ones_like(lesion)))
    assert found["aupro"] == pytest.approx(0.5, abs=0.01)  # one of two lesions at once, the other only with everything
    assert found["auroc"] > 0.99


def test_chance_and_perfection_have_their_textbook_values() -> None:
    assert curves.area(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.3) == pytest.approx(0.15)
    assert curves.mcclish(0.15) == pytest.approx(0.5)
    assert curves.mcclish(1.0) == pytest.approx(1.0)


def test_without_lesions_metrics_are_undefined_not_zero() -> None:
    scores, lesion, mask = case(0)
    found = ranked(curves.curve(scores, np.zeros_like(lesion), mask))
    assert all(np.isnan(value) for value in found.values())
    found = ranked(curves.curve(scores, np.ones_like(lesion), mask))
    assert np.isnan(found["auroc"])


@pytest.mark.parametrize("bins", [10, 100])
@pytest.mark.parametrize("seed", range(50))
def test_merged_histograms_bracket_the_exact_pooled_metrics(seed: int, bins: int) -> None:
    patients = [case(1000 * seed + i, ties=seed % 2 == 0) for i in range(3)]
    inside = [(scores[mask], (lesion & mask)[mask]) for scores, lesion, mask in patients]
    low = float(min(s.min() for s, _ in inside))
    high = float(max(s.max() for s, _ in inside))
    normal = sum(histograms.coarse_counts(s[~t], low, high) for s, t in inside)
    lesion = sum(histograms.coarse_counts(s[t], low, high) for s, t in inside)
    edges = histograms.quantile_edges(normal, lesion, low, high, bins)
    found = merged(
        sum(histograms.count(s[~t], edges) for s, t in inside),
        sum(histograms.count(s[t], edges) for s, t in inside),
        sum(
            histograms.count(
                s[m], edges, curves.region_weights(le & m)[m] * ndimage.label(le & m, np.ones((3, 3, 3)))[1]
            )
            for s, le, m in patients
        ),
    )
    values, truth = (np.concatenate(parts) for parts in zip(*inside, strict=True))
    fpr, tpr, _ = roc_curve(truth, values, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, values)
    keep = fpr <= 0.3
    exact = {
        "auroc": roc_auc_score(truth, values),
        "auroc30": np.trapezoid(np.append(tpr[keep], np.interp(0.3, fpr, tpr)), np.append(fpr[keep], 0.3)) / 0.3,
        "auprc": average_precision_score(truth, values),
        "best_dice": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
    }
    for name, value in exact.items():
        assert found[name].low - 1e-9 <= value <= found[name].high + 1e-9, name
        assert found[name].low <= found[name].value <= found[name].high


def test_finer_histograms_give_tighter_brackets() -> None:
    scores, lesion, mask = case(3)
    values, truth = scores[mask], lesion[mask]
    low, high = float(values.min()), float(values.max())
    counts = [histograms.coarse_counts(values[t], low, high) for t in (~truth, truth)]
    widths = []
    for bins in (10, 100, 1000):
        edges = histograms.quantile_edges(*counts, low, high, bins)
        found = merged(*(histograms.count(values[t], edges) for t in (~truth, truth, truth)))
        widths.append(found["auroc"].high - found["auroc"].low)
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 1e-3


def test_merged_metrics_without_lesions_are_undefined() -> None:
    found = merged(np.array([3, 4]), np.zeros(2, int), np.zeros(2))
    assert all(np.isnan(b.value) for b in found.values())


def test_quantile_of_coarse_counts_is_numpys_within_a_bin() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=100_000)
    counts = histograms.coarse_counts(values, 0.0, float(values.max()))
    width = values.max() / histograms.COARSE_BINS
    assert histograms.quantile(counts, 0.0, float(values.max()), 0.98) == pytest.approx(
        np.quantile(values, 0.98), abs=3 * width
    )


@pytest.mark.parametrize("seed", range(5))
def test_image_auroc_equals_scikit_learns_from_scores_and_from_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normal, ill = rng.integers(0, 20, 15), rng.integers(5, 25, 12)
    exact = roc_auc_score(np.r_[np.zeros(15), np.ones(12)], np.r_[normal, ill])
    assert subjects.image_auroc(normal, ill) == pytest.approx(exact)
    counts = [np.bincount(values, minlength=26) for values in (normal, ill)]
    assert subjects.image_auroc_from_counts(*counts) == pytest.approx(exact)
    assert np.isnan(subjects.image_auroc(np.array([]), ill))


def test_conformal_p_values_of_normal_people_are_valid() -> None:
    rng = np.random.default_rng(0)
    edges = np.linspace(-4, 4, 4001)
    p = []
    for _ in range(3000):
        drawn = rng.standard_normal(20)
        p.append(subjects.conformal_p(drawn[0], edges, histograms.count(drawn[1:], edges)))
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(p) <= level) <= level + 0.025
    assert min(p) == pytest.approx(1 / 20)


def test_a_site_whose_healthy_people_look_ill_shows_in_the_exceedance_error() -> None:
    rng = np.random.default_rng(0)
    edges = np.linspace(-5, 8, 2000)
    alike = {s: histograms.count(rng.standard_normal(60), edges) for s in "abc"}
    shifted = alike | {"c": histograms.count(rng.standard_normal(60) + 3, edges)}
    assert subjects.exceedance_error(alike) < 0.08
    assert subjects.exceedance_error(shifted) > 0.15
    assert np.isnan(subjects.exceedance_error({"a": alike["a"]}))


def test_wilcoxon_with_holms_correction_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    reference = rng.random(25)
    others = {name: reference + rng.normal(shift, 0.2, 25) for name, shift in {"a": 0.3, "b": 0.05, "c": 0.12}.items()}
    raw = [wilcoxon(values - reference).pvalue for values in others.values()]
    expected = multipletests(raw, method="holm")[1]
    np.testing.assert_allclose(list(subjects.wilcoxon_holm(reference, others).values()), expected)
    assert np.isnan(subjects.wilcoxon_holm(reference[:5], {"a": others["a"][:5]})["a"])


def test_surface_dice_equals_deepminds_library() -> None:
    surface_distance = pytest.importorskip("surface_distance")
    for seed in range(4):
        _, lesion, _ = case(seed)
        other = np.roll(lesion, 1, axis=seed % 3)
        distances = surface_distance.compute_surface_distances(lesion, other, (2.0, 2.0, 2.0))
        expected = surface_distance.compute_surface_dice_at_tolerance(distances, 1.0)
        assert segmentation.surface_dice(lesion, other, 2, 1.0) == pytest.approx(expected, abs=1e-5)


def test_overlap_of_empty_masks_is_undefined_or_nothing() -> None:
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert np.isnan(segmentation.dice(empty, empty))
    assert segmentation.dice(empty, full) == 0
    assert np.isnan(segmentation.surface_dice(empty, empty, 2, 1.0))
    assert segmentation.surface_dice(empty, full, 2, 1.0) == 0


def bumps(heights: list[float], sizes: list[int]) -> np.ndarray:
    """Well separated cubes on a low floor."""
    anomaly_map = np.zeros((60, 12, 12), np.float32)
    for k, (height, size) in enumerate(zip(heights, sizes, strict=True)):
        anomaly_map[5 * k : 5 * k + size, 2 : 2 + size, 2 : 2 + size] = height
    return anomaly_map


def test_clusters_are_ranked_by_size_and_excess_and_small_ones_dropped() -> None:
    anomaly_map = bumps([1.0, 3.0, 2.0, 9.0], [4, 3, 2, 1])
    labels, ranked = segmentation.ranked_clusters(anomaly_map, np.ones(anomaly_map.shape, bool), 0.5, minimum_voxels=8)
    firsts = [int(np.argwhere(labels == number)[0][0]) // 5 for number in ranked]
    sizes, excess = np.array([64, 27, 8]), np.array([0.5, 2.5, 1.5])
    expected = np.argsort(-(0.5 * sizes / 64 + 0.5 * excess / 2.5))
    assert firsts == expected.tolist()


def test_at_most_ten_clusters_stay() -> None:
    anomaly_map = bumps([1.0 + 0.1 * k for k in range(12)], [3] * 12)
    _, ranked = segmentation.ranked_clusters(anomaly_map, np.ones(anomaly_map.shape, bool), 0.5, minimum_voxels=1)
    assert 1 <= len(ranked) <= segmentation.MAXIMUM_CLUSTERS


def test_cluster_detection_on_a_case_worked_by_hand() -> None:
    labels = np.zeros((60, 12, 12), int)
    for number, place in ((1, 0), (2, 10), (3, 20)):
        labels[place : place + 3, 2:5, 2:5] = number
    lesion = np.zeros(labels.shape, bool)
    lesion[10:12, 2:4, 2:4] = True  # hit by the second cluster
    lesion[40:42, 2:4, 2:4] = True  # missed
    found = vars(segmentation.detection(labels, np.array([1, 2, 3]), lesion))
    assert found["lesion_sensitivity"] == 0.5
    assert found["cluster_rank"] == 2
    assert found["false_clusters"] == 2
    assert found["froc"] == pytest.approx(0.5)  # half the lesions before the second false cluster
    nothing = vars(segmentation.detection(labels, np.array([1, 2, 3]), np.zeros_like(lesion)))
    assert np.isnan(nothing["lesion_sensitivity"])
    assert nothing["false_clusters"] == 3


def rows(count: int, seed: int = 0) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    table = [{metric: float(rng.random()) for metric in PER_SCAN} for _ in range(count)]
    table[0]["auroc"] = float("nan")
    return table


def test_sums_of_sites_give_the_pooled_mean_and_spread() -> None:
    table = rows(9)
    kinds = ["MS"] * 4 + ["WMH"] * 5
    groups = (EVERYBODY, "MS", "WMH")
    parts = [
        summarise(table[:4], kinds[:4], groups, 10, 1, "a"),
        summarise(table[4:], kinds[4:], groups, 10, 1, "b"),
    ]
    total = add(parts)
    values = np.array([row["auprc"] for row in table])
    assert total.mean("auprc") == pytest.approx(values.mean())
    assert total.sd("auprc") == pytest.approx(values.std(ddof=1))
    assert total.n("auroc") == 8
    assert total.mean("auprc", "WMH") == pytest.approx(values[4:].mean())


def test_bootstrap_intervals_cover_the_mean_and_are_paired_between_models() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = rng.normal(0.7, 0.1, 30)
        summary = summarise([{"auroc": v} for v in values], ["x"] * 30, (EVERYBODY,), 400, seed, "a")
        low, high = summary.interval("auroc")
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99
    better = summarise([{"auroc": v + 0.01} for v in values], ["x"] * 30, (EVERYBODY,), 400, seed, "a")
    difference = better.resampled_means("auroc") - summary.resampled_means("auroc")
    np.testing.assert_allclose(difference, 0.01)


@pytest.mark.parametrize(
    ("kinds", "people", "minimum", "expected"),
    [
        (["MS"] * 3 + ["WMH"] * 3, "abcdef", 3, ("all", "MS", "WMH")),
        (["MS"] * 3 + ["WMH"] * 2, "abcde", 3, ("all",)),  # two WMH would follow from all less MS
        (["MS"] * 3 + ["WMH"] * 2 + ["FCD"] * 2, "abcdefg", 3, ("all", "MS")),
        (["MS"] * 4 + ["WMH"] * 3, "aabcdef", 4, ("all",)),  # four scans, but of three people
        (["MS"], "a", 1, ("all", "MS")),
        ([], "", 3, ("all",)),
    ],
)
def test_no_group_below_the_minimum_can_be_read_or_worked_out(
    kinds: list[str], people: str, minimum: int, expected: tuple[str, ...]
) -> None:
    assert reportable_groups(kinds, list(people), minimum) == expected


def test_a_metric_defined_for_few_people_or_for_some_is_left_out_of_every_sum() -> None:
    kinds = ["MS"] * 5 + ["WMH"] * 5
    rows = [{"auroc": 0.1 * i, "dice": 0.5, "cluster_rank": 1.0, "false_clusters": 2.0} for i in range(10)]
    del rows[9]["auroc"], rows[9]["dice"]  # has no lesion after all
    del rows[0]["cluster_rank"]  # whom no cluster hits depends on the model
    groups = (EVERYBODY, "MS", "WMH")
    found = summarise(rows, kinds, groups, 0, 1, "a", people=list("abcdefghij"), minimum=3)
    assert [found.n("auroc", group) for group in groups] == [9, 5, 4]
    assert [found.n("dice", group) for group in groups] == [9, 5, 4]
    assert [found.n("false_clusters", group) for group in groups] == [10, 5, 5]
    assert [found.n("cluster_rank", group) for group in groups] == [0, 0, 5]
    # With one more asked for, the four with WMH would be all less MS.
    more = summarise(rows, kinds, groups, 0, 1, "a", people=list("abcdefghij"), minimum=5)
    assert [more.n("auroc", group) for group in groups] == [9, 0, 0]
    hidden = summarise(rows, kinds, groups, 10, 1, "a")  # a simulation hides nothing
    assert [hidden.n("cluster_rank", group) for group in groups] == [9, 4, 5]


def test_intervals_from_moments_are_those_of_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.7, 0.1, 14), rng.normal(0.6, 0.2, 14)
    a, b = (summarise([{"auroc": v} for v in values], ["x"] * 14, (EVERYBODY,), 0, 1, "a") for values in (ours, theirs))
    expected = stats.t.interval(0.95, 13, ours.mean(), stats.sem(ours))
    np.testing.assert_allclose(a.interval("auroc"), expected)
    few = summarise([{"auroc": v, "false_clusters": 9 * v} for v in (0.9, 1.0)], ["x"] * 2, (EVERYBODY,), 0, 1, "a")
    low, high = few.interval("auroc")
    assert 0 <= low < 0.95 < high == 1.0  # no interval beyond what the metric can be
    assert few.interval("false_clusters")[1] > 9
    welch = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(difference_interval(a, b, "auroc"), tuple(welch))
