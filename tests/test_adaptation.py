"""Learning on while predicting: nothing but complete labels, the arm's own loss, the same bits."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_study import ENTRY, FEATURES, WINDOWS, logits_of, source, study

from packd_jax import metrics
from packd_jax.adaptation import judge_adapting, schedule
from packd_jax.protocol import choose, prepare
from packd_jax.results import judge_on_test
from packd_jax.run_log import RunLog
from packd_jax.splits import encode_splits
from packd_jax.students import train_students
from packd_jax.train_step import Batch, TrainState, init_moments, make_train_step

ARMS = ("no_kd", "kd", "packd", "cluster_input")
RATE, CHUNK = 0.05, 16


def test_a_schedule_by_hand():
    rows = np.arange(40, 50)
    assert schedule(rows, horizon=3, chunk=4) == [
        (slice(0, 4), None),  # at row 4 (access 44) row 1 (41) is complete, but rows 2, 3 are not
        (slice(4, 8), slice(0, 4)),
        (slice(8, 10), None),
    ]
    assert schedule(rows[:0], 3, 4) == []


@settings(max_examples=100)
@given(
    st.lists(st.integers(1, 5), max_size=200),
    st.integers(1, 40),
    st.integers(1, 30),
)
def test_only_complete_rows_are_learnt_each_once_in_order(steps, horizon, chunk):
    rows = np.cumsum(steps, dtype=np.int64)
    plan = schedule(rows, horizon, chunk)
    assert [i for part, _ in plan for i in range(part.start, part.stop)] == [*range(len(rows))]
    learnt = 0
    for place, (_, lesson) in enumerate(plan):
        if lesson is not None:
            assert (lesson.start, lesson.stop) == (learnt, learnt + chunk)
            learnt = lesson.stop
            first_after = plan[place + 1][0].start  # the first prediction that knows the lesson
            assert rows[lesson.stop - 1] + horizon <= rows[first_after]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("adaptation")
    config = study(arms=ARMS)
    splits = encode_splits([source(), source(400, 1)], WINDOWS, FEATURES)
    with RunLog(workdir) as log:
        material = prepare(ENTRY, splits, config, workdir, log)
        chosen = choose(material, workdir, log)
        students = train_students(chosen, config.seeds, material, workdir, "final", log)
    return material, students


def test_without_a_rate_nothing_is_learnt(trained):
    material, students = trained
    still = judge_adapting(students, material, 0.0, CHUNK)
    for one, other in zip(still, judge_on_test(students, material)):
        assert metrics.average_precision(one) == pytest.approx(
            metrics.average_precision(other), abs=1e-4
        )
        assert one.positive.sum() == other.positive.sum()
        assert one.negative.sum() == other.negative.sum()


@pytest.mark.parametrize("arm", ARMS)
def test_each_student_goes_on_with_its_own_loss(trained, arm):
    material, students = trained
    place = next(i for i, s in enumerate(students) if s.candidate.arm == arm)
    student = students[place]
    examples = material.examples("test", student.cluster_input)
    variables = jax.tree.map(lambda leaf: leaf[student.run], student.stack.variables)
    params = variables["params"]
    # The same mathematics by a plain step of one student, without a stack.
    state = TrainState(np.int32(0), params, variables["batch_stats"], init_moments_of(params))
    step = jax.jit(make_train_step(student.model))
    soft, alpha = None, None
    key = student.candidate.teacher_key(0)
    if key is not None:
        teachers = material.teachers[key]
        logits = logits_of(teachers.model, teachers.fit.variables, examples.inputs)
        ids = teachers.ids["test"]
        chosen = logits[ids, np.arange(len(ids))]
        soft = (1 / (1 + np.exp(-chosen))).astype(np.float16)
        alpha = np.full(CHUNK, student.candidate.alpha[0], np.float32)
    histogram, start = metrics.empty_histogram(1), 0
    for _, rows in material.splits.test.parts:
        for part, lesson in schedule(rows, FEATURES.horizon, CHUNK):
            own = slice(part.start + start, part.stop + start)
            logits = student.model.apply(
                {"params": state.params}, examples.take(own).inputs, train=False
            )
            histogram += metrics.score_histogram(np.asarray(logits)[None], examples.labels[own])
            if lesson is not None:
                own = slice(lesson.start + start, lesson.stop + start)
                part = examples.take(own)
                batch = Batch(part.inputs, part.labels, None if key is None else soft[own], alpha)
                state, _ = step(state, np.float32(RATE), batch)
        start += len(rows)
    found = judge_adapting(students, material, RATE, CHUNK)[place]
    expected = metrics.average_precision(histogram.run(0))
    assert metrics.average_precision(found) == pytest.approx(expected, abs=2e-3)
    still = metrics.average_precision(judge_on_test([student], material)[0])
    assert abs(expected - still) > 5e-3  # the lessons make a difference that the test can see


def init_moments_of(params):
    stacked = init_moments(jax.tree.map(lambda leaf: leaf[None], params))
    return jax.tree.map(lambda leaf: leaf[0], stacked)
