"""Clusters: blobs found again, standardisation, merged small clusters, features by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.clustering import assign, fit_clusters, random_clusters, window_features
from packd_jax.config import ClusterConfig
from packd_jax.traces.load_trace import LoadTrace

PLACES = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0]])


def blobs(sizes, places=PLACES, spread=1.0, seed=0):
    """Points around the places, and which place each belongs to, in mixed order."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return places[truth] + spread * rng.standard_normal((len(truth), places.shape[1])), truth


def same_partition(a, b):
    """Whether two labelings differ by the names of the clusters alone."""
    pairs = set(zip(a.tolist(), b.tolist()))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("minibatch_rows", [200_000, 100], ids=["kmeans", "minibatch"])
def test_separated_blobs_are_found_again(minibatch_rows):
    windows, truth = blobs([150, 100, 50])
    config = ClusterConfig(k=3, minibatch_rows=minibatch_rows)
    clusters = fit_clusters(windows, config)
    ids = assign(clusters, windows)
    assert ids.dtype == np.uint8 and clusters.centers.dtype == np.float32
    assert same_partition(ids, truth)
    assert sorted(clusters.counts.tolist()) == [50, 100, 150]
    assert clusters.counts.tolist() == np.bincount(ids).tolist()
    assert (clusters.k, clusters.merged, clusters.feature) == (3, 0, "d")
    means = [windows[ids == k].mean(axis=0) for k in range(3)]
    found = clusters.centers * clusters.scale + clusters.mean
    np.testing.assert_allclose(found, means, atol=1.0 if minibatch_rows == 100 else 1e-3)
    other, other_truth = blobs([20, 20, 20], seed=1)
    assert same_partition(assign(clusters, other), other_truth)


def test_assign_takes_the_nearest_centre():
    windows, _ = blobs([400, 300, 200], spread=20.0)
    clusters = fit_clusters(windows, ClusterConfig(k=3))
    for window, cluster in zip(windows[:100], assign(clusters, windows)):
        point = (window - windows.mean(axis=0)) / windows.std(axis=0)
        distance = [float(((point - centre) ** 2).sum()) for centre in clusters.centers]
        assert distance[cluster] <= min(distance) + 1e-5


def test_standardisation_lets_a_small_column_count():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    # Two clear groups in a column of small numbers, beside a structureless one of large numbers.
    windows = np.stack([truth + 0.01 * rng.standard_normal(400), 1e6 * rng.random(400)], axis=1)
    scaled = fit_clusters(windows, ClusterConfig(k=2))
    unscaled = fit_clusters(windows, ClusterConfig(k=2), scaled=False)
    assert same_partition(assign(scaled, windows), truth)
    assert not same_partition(assign(unscaled, windows), truth)
    np.testing.assert_array_equal(unscaled.mean, [0, 0])
    np.testing.assert_array_equal(unscaled.scale, [1, 1])
    by_size = assign(unscaled, windows[np.argsort(windows[:, 1])])
    assert np.count_nonzero(np.diff(by_size.astype(int))) == 1  # a cut through the large column


def test_tiny_clusters_are_merged_into_their_neighbours_and_counted():
    places = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 20.0]])
    windows, truth = blobs([500, 490, 10], places, spread=0.5)
    kept = fit_clusters(windows, ClusterConfig(k=3, minimum_share=0.005))
    assert (kept.k, kept.merged) == (3, 0)
    merged = fit_clusters(windows, ClusterConfig(k=3, minimum_share=0.02))
    assert (merged.k, merged.merged) == (2, 1)
    assert sorted(merged.counts.tolist()) == [500, 500]
    assert same_partition(assign(merged, windows), np.minimum(truth, 1))


def test_fewer_distinct_windows_than_clusters_leave_no_empty_one():
    windows = np.repeat([[1.0, 2.0], [5.0, 6.0]], 50, axis=0)
    clusters = fit_clusters(windows, ClusterConfig(k=5))
    assert (clusters.k, clusters.merged) == (2, 3)
    assert clusters.counts.tolist() == [50, 50]


def test_one_cluster_takes_everything():
    windows, _ = blobs([10, 10, 10])
    clusters = fit_clusters(windows, ClusterConfig(k=1))
    np.testing.assert_allclose(clusters.centers, 0, atol=1e-5)
    assert clusters.counts.tolist() == [30]
    assert not assign(clusters, windows).any()


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0, 91516566490888.0])
def test_constant_columns_keep_their_numbers(constant):
    windows, truth = blobs([700, 600, 530])
    windows = np.column_stack([windows, np.full(len(windows), constant)])
    clusters = fit_clusters(windows, ClusterConfig(k=3))
    assert clusters.scale[2] == 1  # and not what rounding leaves of zero
    assert np.isfinite(clusters.centers).all()
    assert same_partition(assign(clusters, windows), truth)


def test_the_same_seed_finds_the_same_clusters():
    windows, _ = blobs([100, 100, 100], spread=15.0)
    for k in (2, 4):
        a, b = (fit_clusters(windows, ClusterConfig(k=k, seed=3)) for _ in range(2))
        np.testing.assert_array_equal(a.centers, b.centers)


def test_windows_that_do_not_fit_are_refused():
    windows, _ = blobs([5, 5, 5])
    clusters = fit_clusters(windows, ClusterConfig(k=3))
    for bad in (windows[:, :1], windows[0], np.zeros((4, 3))):
        with pytest.raises(ValueError, match=r"expected \[N, 2\]"):
            assign(clusters, bad)
    for bad in (windows[:2], windows[0]):
        with pytest.raises(ValueError, match="N >= k = 3"):
            fit_clusters(bad, ClusterConfig(k=3))


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any),
    st.integers(1, 500),
    st.integers(0, 9),
)
def test_random_clusters_keep_the_shares(counts, rows, seed):
    counts = np.array(counts)
    ids = random_clusters(counts, rows, seed)
    assert ids.dtype == np.uint8 and len(ids) == rows
    shares = np.bincount(ids, minlength=len(counts))
    assert np.abs(shares - counts / counts.sum() * rows).max() <= 1
    np.testing.assert_array_equal(ids, random_clusters(counts, rows, seed))


def test_random_clusters_are_shuffled_by_seed():
    counts = np.array([300, 700])
    first, second = random_clusters(counts, 1000, 0), random_clusters(counts, 1000, 1)
    assert np.bincount(first).tolist() == [300, 700]
    assert (first != second).any()
    assert 60 < first[:300].sum() < 300  # neither sorted nor reversed: about 210


TRACE = LoadTrace(
    np.arange(6),
    np.arange(6),
    np.array([64 * b + 9 for b in (64, 70, 67, 67, 200, 130)], np.uint64),
    np.array([4, 5, 6, 7, 8, 2**47], np.uint64),
    np.zeros(6, bool),
)


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("a", [[70, 67, 67], [67, 200, 130]]),
        ("d", [[6, -3, 0], [0, 133, -70]]),
        ("i", [[5, 6, 7], [7, 8, 2**47]]),
        ("t", [[3], [2]]),  # 67 = 64 + 3, 130 = 2 * 64 + 2
    ],
)
def test_features_of_a_trace_by_hand(feature, expected):
    windows = window_features(TRACE, np.array([3, 5]), 3, feature)
    assert windows.dtype == np.float64
    assert windows.tolist() == expected


def test_an_unknown_feature_is_refused():
    with pytest.raises(ValueError, match="feature = 'p': expected 'a', 'd', 'i' or 't'"):
        window_features(TRACE, np.array([3]), 3, "p")
