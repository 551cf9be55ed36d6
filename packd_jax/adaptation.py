"""Students that keep learning where they are used: on test, from labels that are complete by then.

The label of an access is known `horizon` accesses later. A student predicts a chunk of rows,
then takes a step on the oldest chunk that is complete and that it has not learnt from yet: a
prediction never depends on an access behind the one that it is made at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from packd_jax import ensemble, metrics
from packd_jax.distill import encode_soft
from packd_jax.example_source import in_memory
from packd_jax.features import Examples
from packd_jax.metrics import ScoreHistogram
from packd_jax.students import (
    TEACHERS_OF,
    Material,
    Student,
    alphas,
    soft_weight,
    teacher_key,
)
from packd_jax.teachers import TeacherKey
from packd_jax.train_step import Batch, TrainState, init_moments, make_train_step

CHUNK = 256  # rows between two steps, and rows of a step


def judge_adapting(
    students: Sequence[Student], material: Material, learning_rate: float, chunk: int = CHUNK
) -> list[ScoreHistogram]:
    """Looks at test as `results.judge_on_test`, while every student goes on with its own loss.

    Adam starts anew with the constant `learning_rate`. Arms with teachers learn from them on
    test, too: what a teacher says of a row needs no label.
    """
    stacks: dict[int, list[Student]] = {}
    for student in students:
        stacks.setdefault(id(student.stack), []).append(student)
    judged: dict[int, ScoreHistogram] = {}
    for members in stacks.values():
        together = _adapt_stack(members, material, learning_rate, chunk)
        judged |= {id(member): together.run(i) for i, member in enumerate(members)}
    return [judged[id(student)] for student in students]


def _adapt_stack(
    members: Sequence[Student], material: Material, learning_rate: float, chunk: int
) -> ScoreHistogram:
    first = members[0]
    examples = in_memory(material.examples("test", first.cluster_input))
    runs = np.array([member.run for member in members])
    variables = jax.tree.map(lambda leaf: leaf[runs], first.stack.variables)
    params, statistics = variables["params"], variables["batch_stats"]
    state = TrainState(jnp.zeros(len(runs), jnp.int32), params, statistics, init_moments(params))
    # Members of a program that have teachers have their temperature in common.
    taught = [m.candidate.temperature for m in members if m.candidate.arm in TEACHERS_OF]
    temperature = taught[0] if taught else 1.0
    weight = soft_weight(material.config, temperature)
    train_step = jax.jit(
        jax.vmap(make_train_step(first.model, temperature, weight), in_axes=(0, None, 0))
    )
    predict = ensemble.make_apply(first.model)
    lessons = _Lessons(members, material, examples, temperature)
    histogram = metrics.empty_histogram(len(runs))
    start = 0
    for _, trace_rows in material.splits.test.parts:
        for part, lesson in schedule(trace_rows, material.entry.features.horizon, chunk):
            rows = np.arange(part.start, part.stop) + start
            filled = np.resize(rows, chunk)  # one shape for every chunk
            now = {"params": state.params, "batch_stats": state.batch_stats}
            logits = predict(now, examples.take(filled).inputs)
            seen = np.asarray(logits)[:, : len(rows)]
            histogram = histogram + metrics.score_histogram(seen, examples.labels[rows])
            if lesson is not None:
                batch = lessons.batch(np.arange(lesson.start, lesson.stop) + start)
                state, _ = train_step(state, jnp.float32(learning_rate), batch)
        start += len(trace_rows)
    return histogram


def schedule(trace_rows: np.ndarray, horizon: int, chunk: int) -> list[tuple[slice, slice | None]]:
    """What is predicted, and what is learnt next: (rows to predict, rows to learn or None).

    `trace_rows` i64[N] are places in the trace, increasing. After the rows up to `stop` are
    predicted, rows whose label ends at or before the access of row `stop` are complete.
    """
    plan: list[tuple[slice, slice | None]] = []
    learnt = 0
    for begin in range(0, len(trace_rows), chunk):
        stop = min(begin + chunk, len(trace_rows))
        lesson = None
        if stop < len(trace_rows):
            complete = np.searchsorted(trace_rows, trace_rows[stop] - horizon, side="right")
            if complete - learnt >= chunk:
                lesson = slice(learnt, learnt + chunk)
                learnt += chunk
        plan.append((slice(begin, stop), lesson))
    return plan


class _Lessons:
    """Batches of test rows for a whole stack, with the teachers' answers where there are some."""

    def __init__(
        self,
        members: Sequence[Student],
        material: Material,
        examples: Examples,
        temperature: float,
    ) -> None:
        self.examples = examples
        keys = [teacher_key(m.candidate, m.seed, material.config) for m in members]
        sets = list(dict.fromkeys(key for key in keys if key is not None))
        self.of_run = np.array([sets.index(key) if key else 0 for key in keys])
        self.soft = [_answers(key, material, temperature) for key in sets]
        self.cluster = [material.teachers[key].ids["test"] for key in sets]
        most = max([1, *(int(ids.max()) + 1 for ids in self.cluster)])
        most = max([most, *(len(m.candidate.alpha) for m in members)])
        self.alpha = np.array([alphas(m.candidate, most) for m in members], np.float32)

    def batch(self, rows: np.ndarray) -> Batch:
        runs = len(self.of_run)
        part = self.examples.take(rows)
        inputs, labels = jax.tree.map(
            lambda values: np.broadcast_to(values, (runs, *values.shape)),
            (part.inputs, part.labels),
        )
        if not self.soft:
            return Batch(inputs, labels, None, None)
        soft = np.stack([values[rows] for values in self.soft])[self.of_run]
        cluster = np.stack([ids[rows] for ids in self.cluster])[self.of_run]
        alpha: Any = np.take_along_axis(self.alpha, cluster, axis=1)
        return Batch(inputs, labels, soft, alpha)


def _answers(key: TeacherKey, material: Material, temperature: float) -> Any:
    """What a teacher set says about the rows of test, f16[N, D]."""
    teachers = material.teachers[key]
    logits = ensemble.route(
        teachers.model,
        teachers.fit.variables,
        in_memory(material.splits.test.examples).inputs,
        teachers.ids["test"],
    )
    return encode_soft(logits, temperature, "float16")
