"""k-means over access windows: fitted on training windows, applied to all."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from packd_jax.config import ClusterConfig
from packd_jax.traces.load_trace import LoadTrace


class Clustering(NamedTuple):
    """Centres of standardised windows; `assign` finds the nearest."""

    feature: str
    mean: np.ndarray  # f64[E], of the training windows
    scale: np.ndarray  # f64[E], their standard deviation (1 where they are constant)
    centers: np.ndarray  # f32[K, E], standardised
    counts: np.ndarray  # i64[K], windows that it was fitted on: training windows, or a sample
    merged: int = 0  # clusters that were too small and went into their nearest neighbour

    @property
    def k(self) -> int:
        return len(self.counts)


def window_features(trace: LoadTrace, rows: np.ndarray, look_back: int, feature: str) -> np.ndarray:
    """The numbers that windows are clustered by, f64[N, E], the current access included.

    Feature "a": block numbers of the window, "d": deltas between its accesses, "i": its PCs
    (E = look_back each), "t": the page offset of the current block (E = 1), which needs no
    learning to be known. `rows` i64[N] are the current accesses; all are >= look_back.
    """
    block = trace.block
    if feature == "t":
        return (block[rows, None] & 63).astype(np.float64)
    past = rows[:, None] + np.arange(1 - look_back, 1)
    if feature == "a":
        return block[past].astype(np.float64)
    if feature == "d":
        return (block[past] - block[past - 1]).astype(np.float64)
    if feature == "i":
        return trace.pc[past].astype(np.float64)
    raise ValueError(f"feature = {feature!r}: expected 'a', 'd', 'i' or 't'")


def sample_rows(total: int, count: int, seed: int) -> np.ndarray:
    """A uniform sample of `count` of `total` rows, i64[count], ascending; all if count is 0.

    One row is drawn from each of `count` equal stretches, so a sample of any trace is spread over
    all of it, and drawing one takes memory for the sample alone.
    """
    if count == 0 or count >= total:
        return np.arange(total)
    edges = np.arange(count + 1) * total // count
    draws = np.random.default_rng([seed, total]).random(count)
    return edges[:-1] + (draws * np.diff(edges)).astype(np.int64)


def fit_clusters(windows: np.ndarray, config: ClusterConfig, scaled: bool = True) -> Clustering:
    """k-means with `config.k` clusters on training windows f64[N, E].

    Clusters below `config.minimum_share` of the windows, empty ones among them, are merged
    into the nearest remaining one; `merged` says how many. `scaled=False` leaves out the
    standardisation, as the authors do.
    """
    # Importing it takes a second, and not every command fits clusters.
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if windows.ndim != 2 or len(windows) < config.k:
        raise ValueError(f"windows {windows.shape}: expected [N, E] with N >= k = {config.k}")
    scale = windows.std(axis=0) if scaled else np.ones(windows.shape[1])
    mean = windows.mean(axis=0) if scaled else np.zeros(windows.shape[1])
    # Rounding may leave the deviation of a constant column a little above zero.
    scale = np.where(windows.min(axis=0) < windows.max(axis=0), scale, 1.0)
    points = ((windows - mean) / scale).astype(np.float32)
    algorithm = MiniBatchKMeans if len(points) > config.minibatch_rows else KMeans
    with warnings.catch_warnings():
        # Fewer distinct windows than clusters: the empty ones are merged below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centers = (
            algorithm(config.k, n_init=3, random_state=config.seed).fit(points).cluster_centers_
        )
    centers = centers.astype(np.float32)
    while len(centers) > 1:
        counts = np.bincount(_nearest(points, centers), minlength=len(centers))
        if counts.min() >= max(1, config.minimum_share * len(points)):
            break
        centers = np.delete(centers, counts.argmin(), axis=0)
    counts = np.bincount(_nearest(points, centers), minlength=len(centers))
    return Clustering(config.feature, mean, scale, centers, counts, config.k - len(centers))


def assign(clustering: Clustering, windows: np.ndarray) -> np.ndarray:
    """The nearest cluster of each window f64[N, E]: u8[N]."""
    if windows.ndim != 2 or windows.shape[1] != len(clustering.mean):
        raise ValueError(f"windows {windows.shape}: expected [N, {len(clustering.mean)}]")
    points = ((windows - clustering.mean) / clustering.scale).astype(np.float32)
    return _nearest(points, clustering.centers)


def random_clusters(counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Cluster ids u8[rows] with the shares of `counts` and no meaning: a control."""
    shares = np.repeat(np.arange(len(counts), dtype=np.uint8), _shares(counts, rows))
    return np.random.default_rng([seed, rows]).permutation(shares)


def _shares(counts: np.ndarray, rows: int) -> np.ndarray:
    edges = np.round(np.cumsum(counts) / np.sum(counts) * rows).astype(np.int64)
    return np.diff(edges, prepend=0)


def _nearest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    nearest = np.empty(len(points), np.uint8)
    for start in range(0, len(points), 65536):
        part = points[start : start + 65536]
        distance = ((part[:, None, :] - centers[None]) ** 2).sum(axis=2)
        nearest[start : start + 65536] = distance.argmin(axis=1)
    return nearest
