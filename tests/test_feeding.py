"""Rows that reach the devices: the same from memory and from shards, on one device and on two."""

import numpy as np
import pytest
import small_shards

from packd_jax import device_mesh, train
from packd_jax.advance import Targets
from packd_jax.batching import RowOrder
from packd_jax.config import ModelConfig, StreamConfig, TraceConfig, TrainConfig
from packd_jax.device_mesh import make_mesh
from packd_jax.distill import encode_soft
from packd_jax.example_source import in_memory
from packd_jax.feeding import ResidentRows, WindowRing, draw, make_feed
from packd_jax.models import InputSpec, build_model
from packd_jax.splits import encode_splits, open_sources

BATCH = 16
WINDOWS = {"lanes": 2, "shuffle_rows": 4096}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """The same splits in memory and in shards."""
    folder = tmp_path_factory.mktemp("feeding")
    small_shards.write(folder / "trace.txt", 16_000)
    config = TraceConfig(
        (str(folder / "trace.txt"),),
        unit="percent",
        train=(0, 70),
        validation=(70, 80),
        test=(80, 100),
    )
    return [
        encode_splits(
            open_sources(config, StreamConfig(in_memory_rows=most), folder),
            config,
            small_shards.TOKENS,
        )
        for most in (10**7, 10)
    ]


def orders(rows, **options):
    """Two orders of different rows, which roll on at different steps."""
    some = np.flatnonzero(np.arange(rows) % 3 > 0)
    return [RowOrder(range(rows), 0, **options), RowOrder(some, 1, **options)]


@pytest.mark.parametrize("options", [{}, WINDOWS])
@pytest.mark.parametrize("data", [1, 2])
def test_every_step_draws_the_rows_of_its_order(splits, options, data):
    memory = in_memory(splits[0].train.examples)
    with device_mesh.layout(data=data, model_replica=1):
        mesh = make_mesh(2, BATCH, options.get("lanes", 1))
    both = orders(memory.rows, **options)
    run_order = np.array([1, 0, 1], np.int32)
    for examples, kind in zip((s.train.examples for s in splits), (ResidentRows, WindowRing)):
        feed = make_feed(examples, both, BATCH, mesh)
        assert isinstance(feed, kind)
        # Half an epoch on, back to the beginning, and over several windows.
        for start in (300, 0, 3, 700):
            steps = feed.steps(start, 5)
            fed = feed.take(start, steps, 5)
            for step in range(steps):
                inputs, labels = draw(fed.data, fed.places[:, step], run_order, feed.ring)
                for run, order in enumerate(run_order):
                    rows = both[order].steps(start + step, 1, BATCH)[0]
                    expected = memory.take(rows)
                    np.testing.assert_array_equal(labels[run], expected.labels)
                    np.testing.assert_array_equal(fed.rows()[order, step], rows)
                    for name, values in expected.inputs.items():
                        np.testing.assert_array_equal(inputs[name][run], values)


def test_a_chunk_in_a_ring_ends_where_its_windows_do(splits):
    mesh = make_mesh(1, BATCH, 2)
    order = RowOrder(range(splits[1].train.examples.rows), 0, **WINDOWS)
    ring = WindowRing(splits[1].train.examples, [order], BATCH, mesh)
    of_window = order.window_rows // (BATCH // 2)
    assert ring.steps(0, 10**9) == 2 * of_window
    assert ring.steps(of_window - 1, 10**9) == of_window + 1
    assert ring.steps(of_window, 7) == 7
    small = RowOrder(range(3), 0)
    with pytest.raises(ValueError, match="two windows of 3 rows to hold a batch's part"):
        WindowRing(splits[1].train.examples, [small], BATCH, mesh).steps(0, 1)


MODEL = build_model(ModelConfig(width=3), InputSpec.of(small_shards.TOKENS))
RUNS = train.Runs(
    seed=np.arange(2, dtype=np.int32),
    order=np.array([0, 1], np.int32),
    learning_rate=np.full(2, 1e-2, np.float32),
)
CONFIG = TrainConfig(steps=600, batch_size=BATCH, evaluations=2)


def fit(split, runs=RUNS, **options):
    rows = split.train.examples.rows
    return train.fit(
        MODEL,
        split.train.examples,
        runs,
        orders(rows, **WINDOWS),
        split.validation.examples,
        CONFIG,
        **options,
    )


@pytest.fixture(scope="module")
def resident(splits):
    return fit(splits[0])


def assert_same_fit(found, expected):
    assert found.info.loss == expected.info.loss
    assert found.f1.tolist() == expected.f1.tolist()
    assert found.threshold_bin.tolist() == expected.threshold_bin.tolist()


def test_training_from_shards_ends_with_the_same_bits(splits, resident, tmp_path):
    assert_same_fit(fit(splits[1]), resident)

    def stop(step, loss):
        if step > 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(splits[1], directory=tmp_path, progress=stop)
    assert_same_fit(fit(splits[1], directory=tmp_path), resident)


@pytest.mark.parametrize("execution", ["loop", "epoch"])
def test_however_it_is_called(splits, resident, execution):
    found = fit(splits[1], execution=execution)
    np.testing.assert_allclose(found.info.loss, resident.info.loss, rtol=1e-5)


def test_soft_targets_go_with_their_rows(splits):
    rows = splits[0].train.examples.rows
    logits = np.random.default_rng(0).normal(size=(1, rows, small_shards.TOKENS.label_bits))
    values, cluster = encode_soft(logits, 1.0, "float16"), np.zeros((1, rows), np.uint8)
    learners = RUNS._replace(soft=np.zeros(2, np.int32), alpha=np.full((2, 1), 0.2, np.float32))
    held, on_disk = (Targets(values, cluster), Targets([values[0]], cluster, on_disk=True))
    expected = fit(splits[0], learners, targets=held)
    for split, targets in ((splits[1], held), (splits[1], on_disk)):
        assert_same_fit(fit(split, learners, targets=targets), expected)
