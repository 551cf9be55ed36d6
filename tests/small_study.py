"""A study of a second for tests: a trace of two streams, networks of a handful of units."""

import dataclasses

import jax
import numpy as np

from packd_jax import ensemble, train
from packd_jax.clustering import Clustering
from packd_jax.config import (
    Config,
    DistillConfig,
    EntryConfig,
    FeatureConfig,
    ModelConfig,
    TraceConfig,
    TrainConfig,
)
from packd_jax.features import Examples
from packd_jax.models import InputSpec, build_model
from packd_jax.splits import SPLITS, Source, Split, Splits
from packd_jax.teachers import Clusters, TeacherKey, Teachers
from packd_jax.traces.load_trace import LoadTrace

FEATURES = FeatureConfig(
    look_back=3,
    horizon=6,
    delta_bound=8,
    delta_exact=8,
    delta_log_buckets=3,
    pc_vocabulary=4,
    pc_hash_buckets=2,
)
BITS = FEATURES.label_bits
SPEC = InputSpec.of(FEATURES)
STUDENT = ModelConfig(width=2)
TEACHER = ModelConfig(width=3)
TRAIN = TrainConfig(steps=8, batch_size=16, learning_rate=1e-2, warmup_steps=2, evaluations=2)
ENTRY = EntryConfig(FEATURES, STUDENT, TEACHER, TRAIN, TRAIN)
WINDOWS = TraceConfig(unit="percent", train=(0, 60), validation=(60, 78), test=(78, 100))


def trace(rows=500, seed=0, pc=0x400):
    """Two streams that take turns, far apart, with strides and PCs of their own; some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(rows)
    second = time // 25 % 2 == 1
    block = np.where(second, 64 * 90_000 - 2 * time, 64 * 1_000 + time)
    block = block + np.where(rng.random(rows) < 0.15, rng.integers(-5, 6, rows), 0)
    pcs = pc + 16 * second + 4 * rng.integers(0, 2, rows)
    return LoadTrace(
        10 * time,
        20 * time,
        (64 * block).astype(np.uint64),
        pcs.astype(np.uint64),
        rng.random(rows) < 0.3,
    )


def source(rows=500, seed=0, pc=0x400):
    return Source(f"trace-{seed}.txt", f"{seed:064x}", trace(rows, seed, pc))


def study(**changes):
    """A configuration of the study; `changes` replace its fields."""
    config = Config(
        name="small",
        trace=WINDOWS,
        entries={"tokens": ENTRY},
        distill=DistillConfig(cluster_ks=(2,)),
        seeds=(0, 1),
    )
    return dataclasses.replace(config, **changes)


def alike(labels, rows_of=None):
    """Splits whose windows all look alike, but for the page offset `rows_of` (zeros without).

    `labels` are the set bits of each row, by split.
    """
    splits = {}
    for name in SPLITS:
        bits = np.zeros((len(labels[name]), BITS), np.uint8)
        for row, own in enumerate(labels[name]):
            bits[row, own] = 1
        inputs = {k: np.zeros(s, np.uint8) for k, s in SPEC.shapes(len(bits)).items()}
        if rows_of is not None:
            inputs["offset"] = rows_of[name].astype(np.uint8)
        packed = np.packbits(bits, axis=1, bitorder="little")
        splits[name] = Split(Examples(inputs, packed, np.arange(len(bits))), ())
    return Splits(**splits, pc_vocabulary=np.zeros(0, np.uint64))


def clusters_of(ids, k):
    """A clustering by the ids of the rows alone."""
    counts = np.bincount(ids["train"], minlength=k)
    one = np.ones(1)
    fitted = Clustering("a", 0 * one, one, np.arange(k, dtype=np.float32)[:, None], counts)
    return Clusters(fitted, {name: own.astype(np.uint8) for name, own in ids.items()})


def stubborn_teachers(key: TeacherKey, bits, ids):
    """Teachers that say one bit each, whatever they see; row i has teacher `ids[split][i]`."""
    model = build_model(TEACHER, SPEC)
    variables = ensemble.init(model, np.zeros(len(bits), np.int32), SPEC.zeros())
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), variables)
    bias = variables["params"]["output"]["bias"]
    bias[:] = -9
    bias[np.arange(len(bits)), bits] = 9
    nothing = train.Info([], [], [], [], [], [])
    fit = train.Fit(variables, np.ones(len(bits)), np.zeros(len(bits), np.int64), nothing)
    return Teachers(key, model, fit, ids, 1.0, 0)


def logits_of(model, variables, inputs):
    """Logits of all stacked networks, f32[R, N, D]."""
    return np.concatenate([part for _, part in ensemble.predict(model, variables, inputs)], axis=1)


def scores_by_hand(logits, labels, threshold):
    """F1, precision and recall of f[N, D] logits in bins of 1/64 from the threshold's bin on.

    `threshold` is a probability; labels are packed.
    """
    edge = round(64 * (np.log(threshold) - np.log1p(-threshold)))
    predicted = np.floor(64 * np.clip(logits.astype(np.float64), -16, 15.99)) >= edge
    truth = np.unpackbits(labels, axis=1, bitorder="little") == 1
    hits = (predicted & truth).sum()
    precision, recall = hits / max(predicted.sum(), 1), hits / max(truth.sum(), 1)
    return 2 * hits / max(predicted.sum() + truth.sum(), 1), precision, recall


def best_f1_by_hand(logits, labels):
    """The best F1 over all bins of 1/64 as thresholds."""
    truth = np.unpackbits(labels, axis=1, bitorder="little") == 1
    binned = np.floor(64 * np.clip(logits.astype(np.float64), -16, 15.99))
    best = 0.0
    for edge in np.unique(binned):
        predicted = binned >= edge
        best = max(best, 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))
    return best
