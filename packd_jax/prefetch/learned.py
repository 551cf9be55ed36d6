"""Prefetches of a trained student: its thoughts of every load of a trace, and a policy on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from packd_jax.ensemble import predict
from packd_jax.features import encode_inputs
from packd_jax.models import build_model
from packd_jax.prefetch.online import Adaptation, AdaptationConfig
from packd_jax.prefetch.policy import NONE, Policy, PolicyConfig, bitmap_deltas
from packd_jax.prefetch.retention import RetentionConfig, retain
from packd_jax.quantize import FloatStudent, IntegerStudent
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.window_features import WindowTables

CHUNK = 1 << 15  # loads that are thought about at once


class AdaptiveStudent(NamedTuple):
    """An integer student that goes on learning, see `packd_jax.prefetch.online`."""

    start: IntegerStudent
    adaptation: AdaptationConfig = AdaptationConfig()


Student = FloatStudent | IntegerStudent | AdaptiveStudent
Thought = tuple[slice, np.ndarray]  # loads, and the probability of each delta at each, f[n, D]


def probabilities(student: Student, trace: LoadTrace, rows: slice) -> Iterator[Thought]:
    """What the student thinks of each delta at the loads `rows`: (rows, f32[n, D]), in order.

    It sees every load of `trace` up to each of them. Loads without a whole look-back are skipped.
    """
    if isinstance(student, AdaptiveStudent):
        yield from _adapted(student, trace, rows)
        return
    features, tables = student.features, WindowTables(student.features)
    for part in _parts(student, rows):
        inputs = encode_inputs(trace, part, features, student.pc_vocabulary, tables)
        for inner, logits in _logits(student, inputs):
            own = slice(part.start + inner.start, part.start + inner.stop)
            yield own, _sigmoid(logits)


def choose_prefetches(student: Student, trace: LoadTrace, policy: PolicyConfig) -> np.ndarray:
    """Blocks to prefetch at each load of the trace, i64[N, degree], NONE for none."""
    return decide(probabilities(student, trace, slice(0, trace.rows)), trace, policy)


def decide(
    thoughts: Iterable[Thought],
    trace: LoadTrace,
    config: PolicyConfig,
    retention: RetentionConfig | None = None,
) -> np.ndarray:
    """Blocks to prefetch at each load, i64[N, degree]: what the policy makes of `probabilities`.

    With `retention`, places that are left hold blocks of the LLC that are touched to stay there.
    """
    block = trace.block
    chosen = np.full((trace.rows, config.degree), NONE, np.int64)
    policy: Policy | None = None
    for rows, probability in thoughts:
        policy = policy or Policy(bitmap_deltas(probability.shape[1]), config)
        chosen[rows] = policy.choose(probability, block[rows])
    return chosen if retention is None else retain(chosen, block, retention)


def storage_bits(student: Student, policy: PolicyConfig) -> int:
    """Of all that hardware would keep: constants, state of the tokens, filter and backlog.

    A float student's parameters take 32 bits each. One that adapts also keeps the integers that
    it started from.
    """
    if isinstance(student, AdaptiveStudent):
        learning = Adaptation(student.start, student.adaptation).bits
        return storage_bits(student.start, policy) + learning
    features = student.features
    if isinstance(student, IntegerStudent):
        constants = 8 * student.size_bytes
    else:
        leaves = jax.tree.leaves(student.params)
        constants = 32 * sum(leaf.size for leaf in leaves) + 64 * len(student.pc_vocabulary)
    return constants + features.state_bits + policy.bits


def _parts(student: FloatStudent | IntegerStudent, rows: slice) -> Iterator[slice]:
    first = max(rows.start, student.features.look_back)
    for start in range(first, rows.stop, CHUNK):
        yield slice(start, min(start + CHUNK, rows.stop))


def _adapted(student: AdaptiveStudent, trace: LoadTrace, rows: slice) -> Iterator[Thought]:
    """As `probabilities`; what it learns begins with the trace, whatever the rows."""
    start, learning = student.start, Adaptation(student.start, student.adaptation)
    block, tables = trace.block, WindowTables(start.features)
    for part in _parts(start, slice(0, rows.stop)):
        inputs = encode_inputs(trace, part, start.features, start.pc_vocabulary, tables)
        units = np.concatenate([units for _, units in start.hidden(inputs)])
        logits = learning.logits(units, block[part], trace.hit[part])
        own = slice(max(part.start, rows.start), part.stop)
        if own.start < own.stop:
            scale = np.float32(start.logit_scale)
            yield own, _sigmoid(logits[own.start - part.start :].astype(np.float32) * scale)


def _logits(
    student: FloatStudent | IntegerStudent, inputs: dict[str, np.ndarray]
) -> Iterator[tuple[slice, np.ndarray]]:
    if isinstance(student, IntegerStudent):
        for rows, logits in student.predict(inputs):
            yield rows, logits.astype(np.float32) * np.float32(student.logit_scale)
        return
    model = build_model(student.model, student.inputs)
    variables = jax.tree.map(lambda leaf: leaf[None], {"params": dict(student.params)})
    for rows, logits in predict(model, variables, inputs):
        yield rows, np.asarray(logits[0])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
