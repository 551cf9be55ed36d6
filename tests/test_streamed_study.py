"""The stages of a study on traces in shards make what those in memory make, bit by bit."""

import dataclasses

import jax
import numpy as np
import pytest
import small_shards
import small_study

from packd_jax import clustering, ensemble, evaluation, results, train
from packd_jax.batching import RowOrder
from packd_jax.config import (
    ClusterConfig,
    Config,
    ConfigError,
    EntryConfig,
    ModelConfig,
    StreamConfig,
    TraceConfig,
    TrainConfig,
)
from packd_jax.distill import write_soft_targets
from packd_jax.example_source import pieces
from packd_jax.features import Examples
from packd_jax.models import InputSpec, build_model
from packd_jax.protocol import run_study
from packd_jax.run_log import RunLog
from packd_jax.shards.examples import ShardedExamples
from packd_jax.splits import SPLITS, encode_splits, open_sources
from packd_jax.students import Material
from packd_jax.teachers import ClusterKey, TeacherKey, fit_clusters, row_clusters
from packd_jax.traces.mldpc import write_trace

ROWS = (9000, 5000)
UNITS = {
    "percent": ((0, 60), (60, 80), (80, 100)),
    "rows": ((100, 3000), (3000, 3500), (4000, 10**6)),
    "instructions": ((500, 20_000), (20_000, 25_000), (25_000, 10**6)),
}


def config_of(paths, unit="percent"):
    train, validation, test = UNITS[unit]
    return TraceConfig(tuple(paths), unit=unit, train=train, validation=validation, test=test)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for number, rows in enumerate(ROWS):
        small_shards.write(folder / f"{number}.txt.gz", rows, number)
    return folder


def split_both_ways(folder, features, unit="percent", vocabulary=None, progress=None):
    config = config_of([str(folder / f"{number}.txt.gz") for number in range(2)], unit)
    return [
        encode_splits(
            open_sources(config, StreamConfig(in_memory_rows=most), folder),
            config,
            features,
            vocabulary,
            progress,
        )
        for most in (10**7, 10)
    ]


@pytest.fixture(scope="module")
def both(folder):
    """Splits in memory and in shards."""
    return split_both_ways(folder, small_shards.TOKENS)


def assert_equal(found, expected):
    assert list(found.inputs) == list(expected.inputs)
    for name, values in expected.inputs.items():
        np.testing.assert_array_equal(found.inputs[name], values, err_msg=name)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.trace_row, expected.trace_row)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", small_shards.FEATURES)
def test_splits_are_the_same_rows(folder, unit, name):
    memory, shards = split_both_ways(folder, small_shards.FEATURES[name], unit)
    np.testing.assert_array_equal(shards.pc_vocabulary, memory.pc_vocabulary)
    for split in SPLITS:
        held, stored = getattr(memory, split), getattr(shards, split)
        assert isinstance(held.examples, Examples)
        assert isinstance(stored.examples, ShardedExamples)
        assert_equal(stored.examples.take(slice(0, stored.examples.rows)), held.examples)
        rows = np.array([7, 400, 3])
        for feature in "adit":
            for some in (slice(None), slice(9, 40), rows):
                np.testing.assert_array_equal(
                    stored.windows(feature, 5, some), held.windows(feature, 5, some)
                )


def test_the_share_that_is_encoded_is_told(folder):
    shares = []
    features = dataclasses.replace(small_shards.TOKENS, horizon=7)
    split_both_ways(folder, features, progress=shares.append)
    assert shares.count(1.0) >= 2 and all(0 <= share <= 1 for share in shares)  # of two files


def test_a_given_vocabulary_is_used(folder):
    mine = np.array([0x400004, 0x400010], np.uint64)
    memory, shards = split_both_ways(folder, small_shards.TOKENS, vocabulary=mine)
    assert shards.pc_vocabulary is mine
    rows = slice(0, 2000)
    assert_equal(shards.test.examples.take(rows), memory.test.examples.take(rows))


def test_a_window_without_examples_says_what_there_is(folder):
    config = config_of([str(folder / "1.txt.gz")], "rows")
    config = dataclasses.replace(config, validation=(3000, 3009))
    messages = []
    for most in (10**7, 10):
        sources = open_sources(config, StreamConfig(in_memory_rows=most), folder)
        with pytest.raises(ConfigError) as caught:
            encode_splits(sources, config, small_shards.TOKENS)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and "holds 9 of the 5000 rows of" in messages[0]


def test_dropped_rows_are_for_memory_alone(folder):
    features = dataclasses.replace(small_shards.TOKENS, keep_empty_labels=False)
    with pytest.raises(ConfigError, match="keep_empty_labels = False: expected True"):
        split_both_ways(folder, features)


@pytest.mark.parametrize("sample", [0, 1000])
@pytest.mark.parametrize("feature", ["a", "t"])
def test_clusters_are_the_same(both, feature, sample):
    config = Config(clusters=ClusterConfig(sample_rows=sample))
    memory, shards = (fit_clusters(s, ClusterKey(feature, 3), config, 5) for s in both)
    for a, b in zip(memory.fitted, shards.fitted):
        np.testing.assert_array_equal(a, b)
    total = both[0].train.examples.rows
    assert shards.fitted.counts.sum() == (sample or total)
    for split in SPLITS:
        np.testing.assert_array_equal(shards.ids[split], memory.ids[split])
    key = TeacherKey("packd_random", ClusterKey(feature, 3), 0)
    for a, b in zip(*(row_clusters(key, s, memory).values() for s in both)):
        np.testing.assert_array_equal(a, b)


def test_a_sample_is_spread_over_all_rows():
    rows = clustering.sample_rows(10_000, 100, seed=1)
    assert (rows // 100).tolist() == list(range(100)) and len(set((rows % 100).tolist())) > 40
    np.testing.assert_array_equal(rows, clustering.sample_rows(10_000, 100, seed=1))
    assert (rows != clustering.sample_rows(10_000, 100, seed=2)).any()
    for count in (0, 7, 8):
        assert clustering.sample_rows(7, count, 0).tolist() == list(range(7))
    uneven = clustering.sample_rows(100, 33, 0)
    assert len(uneven) == 33 and (np.diff(uneven) > 0).all() and uneven[-1] < 100


@pytest.fixture(scope="module")
def network():
    model = build_model(ModelConfig(width=3), InputSpec.of(small_shards.TOKENS))
    sample = InputSpec.of(small_shards.TOKENS).zeros()
    return model, ensemble.init(model, np.arange(2, dtype=np.int32), sample)


def test_scores_are_the_same(both, network, monkeypatch):
    monkeypatch.setattr("packd_jax.example_source.PIECE_ROWS", 2048)
    assert len(list(pieces(both[1].train.examples, 2048))) > 3
    memory, shards = (s.train.examples for s in both)
    rows = [np.arange(0, memory.rows, 2), np.arange(5)]
    for some in (None, rows):
        expected, found = (evaluation.evaluate(*network, e, some) for e in (memory, shards))
        for a, b in zip(found, expected):
            np.testing.assert_array_equal(a, b)
    group = (np.arange(memory.rows) % 3).astype(np.uint8)
    expected, found = (evaluation.evaluate_groups(*network, e, group, 3) for e in (memory, shards))
    for one, same in zip(found, expected):
        for a, b in zip(one, same):
            np.testing.assert_array_equal(a, b)


def test_training_is_the_same(both, network):
    runs = train.Runs(*(np.arange(2, dtype=np.int32),) * 2, np.full(2, 1e-2, np.float32))
    fits = []
    for splits in both:
        rows = range(splits.train.examples.rows)
        orders = [RowOrder(rows, seed, lanes=2, shuffle_rows=4096) for seed in (0, 1)]
        settings = TrainConfig(steps=90, batch_size=64, evaluations=2)
        held, validation = splits.train.examples, splits.validation.examples
        fits.append(train.fit(network[0], held, runs, orders, validation, settings))
    memory, shards = fits
    assert memory.info.loss == shards.info.loss and memory.f1.tolist() == shards.f1.tolist()
    jax.tree.map(np.testing.assert_array_equal, memory.variables, shards.variables)


def test_soft_targets_are_the_same(both, network, tmp_path):
    rows = np.arange(1, 5000, 3)
    cluster = (rows % 2).astype(np.uint8)
    memory, shards = (
        write_soft_targets(
            tmp_path / f"{number}.npy", *network, split.train.examples, cluster, rows=rows
        )
        for number, split in enumerate(both)
    )
    np.testing.assert_array_equal(memory, shards)


@pytest.mark.parametrize("rows", [0, 500])
def test_the_constant_predictor_is_the_same(both, rows):
    entry = EntryConfig(small_shards.TOKENS, student_train=TrainConfig(rows=rows))
    memory, shards = (
        results.marginal_rows("x", Material(entry, Config(), splits, {}, {})) for splits in both
    )
    assert memory == shards
    material = [Material(entry, Config(), splits, {}, {}) for splits in both]
    memory, shards = (results.details(one, [], []) for one in material)
    assert memory == shards


def test_the_cluster_id_is_an_input(both):
    clusters = {}
    key = ClusterKey("a", 2)
    clusters[key] = fit_clusters(both[0], key, Config(), 5)
    memory, shards = (
        Material(EntryConfig(), Config(), splits, clusters, {}).examples("test", key)
        for splits in both
    )
    rows = np.array([500, 2, 77])
    assert_equal(shards.take(rows), memory.take(rows))
    assert shards.take(rows).inputs["cluster"].dtype == np.uint8


def test_a_whole_study_ends_with_the_same_results(tmp_path):
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.txt"))
        write_trace(paths[-1], small_study.trace(1500, number))
    trace = dataclasses.replace(small_study.WINDOWS, paths=tuple(paths))
    found = []
    for most in (10**7, 10):
        config = small_study.study(trace=trace, stream=StreamConfig(in_memory_rows=most))
        with RunLog(tmp_path / str(most)) as log:
            found.append(run_study(config, log.workdir, log))
        assert (tmp_path / str(most) / "shards").exists() == (most == 10)
    memory, shards = found
    for one, same in zip(memory["rows"], shards["rows"], strict=True):
        assert one | {"train_seconds": 0} == same | {"train_seconds": 0}
    assert memory["details"] == shards["details"] and memory["trace"] == shards["trace"]
