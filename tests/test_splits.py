"""Splits: windows by every unit, no leak between them, several traces one after another."""

import hashlib

import numpy as np
import pytest

from packd_jax.clustering import window_features
from packd_jax.config import (
    CacheConfig,
    CacheLevelConfig,
    ConfigError,
    FeatureConfig,
    TraceConfig,
    WorkloadConfig,
)
from packd_jax.features import encode, pc_tokens
from packd_jax.splits import SPLITS, Source, encode_splits, load_sources
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.mldpc import write_trace

FEATURES = FeatureConfig(
    look_back=3,
    horizon=4,
    delta_bound=8,
    delta_exact=4,
    delta_log_buckets=3,
    pc_vocabulary=2,
    pc_hash_buckets=2,
)


def source(rows=100, seed=0, instructions_per_row=10):
    """A trace whose PCs differ from third to third."""
    rng = np.random.default_rng(seed)
    trace = LoadTrace(
        instructions_per_row * np.arange(rows),
        20 * np.arange(rows),
        (64 * (5000 + np.cumsum(rng.integers(-5, 6, rows)))).astype(np.uint64),
        (0x400 + 16 * (3 * np.arange(rows) // rows) + rng.integers(0, 2, rows)).astype(np.uint64),
        rng.random(rows) < 0.3,
    )
    return Source(f"trace-{seed}.txt", "", trace)


def windows(unit, *edges):
    """Train, validation and test one after another between four edges."""
    return TraceConfig(unit=unit, train=edges[:2], validation=edges[1:3], test=edges[2:])


def rows_of(splits):
    return {name: [rows.tolist() for _, rows in getattr(splits, name).parts] for name in SPLITS}


# Sixty, twenty and twenty of a hundred rows; look-back at the beginning, horizon at every end.
EXPECTED = {
    "train": [list(range(3, 56))],
    "validation": [list(range(60, 76))],
    "test": [list(range(80, 96))],
}


@pytest.mark.parametrize(
    ("unit", "edges"),
    [
        ("rows", (0, 60, 80, 100)),
        ("rows", (0, 60, 80, 10**6)),  # beyond the end of the trace
        ("percent", (0, 60, 80, 100)),
        ("instructions", (0, 600, 800, 1000)),
        ("instructions", (0, 591, 800, 99_999)),
    ],
)
def test_windows_in_every_unit(unit, edges):
    assert rows_of(encode_splits([source()], windows(unit, *edges), FEATURES)) == EXPECTED


def test_windows_may_leave_gaps():
    config = TraceConfig(unit="rows", train=(10, 30), validation=(40, 55), test=(90, 100))
    found = rows_of(encode_splits([source()], config, FEATURES))
    assert found == {
        "train": [list(range(10, 26))],
        "validation": [list(range(40, 51))],
        "test": [list(range(90, 96))],
    }


def test_no_label_of_one_split_depends_on_the_next():
    one, config = source(), windows("rows", 0, 60, 80, 100)
    before = encode_splits([one], config, FEATURES)
    changed = one.trace._replace(address=one.trace.address.copy())
    changed.address[60:] = 64 * np.arange(40, dtype=np.uint64)
    after = encode_splits([Source("x", "", changed)], config, FEATURES)
    np.testing.assert_array_equal(after.train.examples.labels, before.train.examples.labels)
    assert (after.validation.examples.labels != before.validation.examples.labels).any()


def test_the_vocabulary_is_learnt_on_training_rows_alone():
    one = source()
    splits = encode_splits([one], windows("rows", 0, 30, 60, 100), FEATURES)
    assert splits.pc_vocabulary.tolist() == [0x400, 0x401]
    # PCs of the last third are not in it: all of them hash behind the two places.
    assert (splits.test.examples.inputs["pc"][10:] >= 2).all()
    late = encode_splits([one], windows("rows", 66, 80, 90, 100), FEATURES)
    assert late.pc_vocabulary.tolist() == [0x420, 0x421]


def test_a_given_vocabulary_is_used():
    one, mine = source(), np.array([0x420], np.uint64)
    splits = encode_splits([one], windows("rows", 0, 30, 60, 100), FEATURES, mine)
    assert splits.pc_vocabulary is mine
    tokens = pc_tokens(one.trace.pc, mine, FEATURES)
    last = splits.test.examples
    np.testing.assert_array_equal(last.inputs["pc"][:, -1], tokens[last.trace_row])


def test_segments_need_no_vocabulary():
    features = FeatureConfig(encoding="segments", look_back=3, horizon=4, delta_bound=8)
    splits = encode_splits([source()], windows("percent", 0, 60, 80, 100), features)
    assert splits.pc_vocabulary.size == 0
    assert splits.train.examples.inputs["segments"].shape == (53, 3, 10)


def test_several_traces_follow_one_another():
    sources = [source(100, 0), source(200, 1)]
    splits = encode_splits(sources, windows("percent", 0, 60, 80, 100), FEATURES)
    assert rows_of(splits) == {
        "train": [list(range(3, 56)), list(range(3, 116))],
        "validation": [list(range(60, 76)), list(range(120, 156))],
        "test": [list(range(80, 96)), list(range(160, 196))],
    }
    parts = [
        encode(s.trace, slice(0, 60 * (i + 1)), FEATURES, splits.pc_vocabulary)
        for i, s in enumerate(sources)
    ]
    train = splits.train.examples
    np.testing.assert_array_equal(train.labels, np.concatenate([p.labels for p in parts]))
    for name, values in train.inputs.items():
        np.testing.assert_array_equal(values, np.concatenate([p.inputs[name] for p in parts]))


@pytest.mark.parametrize("feature", ["a", "d", "i", "t"])
def test_windows_to_cluster_are_those_of_the_examples(feature):
    sources = [source(100, 0), source(200, 1)]
    features = FeatureConfig(
        look_back=3, horizon=2, delta_bound=4, delta_exact=4, keep_empty_labels=False
    )
    splits = encode_splits(sources, windows("percent", 0, 60, 80, 100), features)
    found = splits.validation.windows(feature, 3)
    assert len(found) == splits.validation.examples.rows < 16 + 36 + 4  # some were dropped
    row = splits.validation.examples.trace_row  # 60 to 80, then 120 to 160 of the second trace
    expected = [
        window_features(sources[0].trace, row[row < 80], 3, feature),
        window_features(sources[1].trace, row[row >= 80], 3, feature),
    ]
    np.testing.assert_array_equal(found, np.concatenate(expected))


@pytest.mark.parametrize(
    ("unit", "edges", "name", "holds"),
    [
        ("instructions", (2000, 3000, 4000, 5000), "train", 0),
        ("instructions", (0, 900, 1000, 2000), "validation", 10),
        ("rows", (0, 50, 96, 100), "test", 4),
        ("percent", (0, 2, 50, 100), "train", 2),
    ],
)
def test_a_window_without_examples_says_what_there_is(unit, edges, name, holds):
    config = windows(unit, *edges)
    if name == "validation":  # ten rows, too few for the look-ahead of this configuration
        features = FeatureConfig(look_back=3, horizon=10, delta_bound=8)
    else:
        features = FEATURES
    with pytest.raises(ConfigError) as caught:
        encode_splits([source()], config, features)
    message = str(caught.value)
    assert message.startswith(
        f"config.trace.{name} = {getattr(config, name)} {unit}: holds {holds}"
    )
    assert "of the 100 rows of trace-0.txt (instruction ids 0 to 990)" in message
    assert f"horizon = {features.horizon}" in message


def test_the_trace_that_is_too_short_is_named():
    with pytest.raises(ConfigError, match=r"10 rows of trace-1\.txt"):
        encode_splits([source(), source(10, 1)], windows("percent", 0, 60, 80, 100), FEATURES)


def test_a_split_whose_labels_are_all_empty_says_so():
    one = source()
    one.trace.address[80:] = 64 * 1000 * np.arange(20, dtype=np.uint64)
    features = FeatureConfig(look_back=3, horizon=4, delta_bound=8, keep_empty_labels=False)
    with pytest.raises(ConfigError, match=r"^config\.trace\.test: every row has an empty label"):
        encode_splits([one], windows("rows", 0, 60, 80, 100), features)


def test_sources_are_the_given_files_with_their_checksums(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.txt", "b.txt.gz")]
    for i, path in enumerate(paths):
        write_trace(path, source(30, i).trace)
    loaded = load_sources(TraceConfig(paths=tuple(paths)), tmp_path)
    for i, (path, found) in enumerate(zip(paths, loaded)):
        with open(path, "rb") as file:
            assert found.sha256 == hashlib.sha256(file.read()).hexdigest()
        assert found.path == path
        for a, b in zip(found.trace, source(30, i).trace):
            np.testing.assert_array_equal(a, b)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt.gz"]


def test_without_files_the_workload_is_recorded_once(tmp_path):
    level = CacheLevelConfig(4096, 1)
    workload = WorkloadConfig(
        scale=6, degree=4, instructions=3000, cache=CacheConfig(level, level, level)
    )
    (first,) = load_sources(TraceConfig(workload=workload), tmp_path)
    recorded = (tmp_path / "trace.txt.gz").stat()
    (second,) = load_sources(TraceConfig(workload=workload), tmp_path)
    assert first.trace.rows > 0 and first.sha256 == second.sha256
    assert (tmp_path / "trace.txt.gz").stat().st_mtime_ns == recorded.st_mtime_ns
    for a, b in zip(first.trace, second.trace):
        np.testing.assert_array_equal(a, b)
