import dataclasses

import jax
import numpy as np
import pytest
import small_student

from packd_jax.batching import RowOrder
from packd_jax.config import ConfigError, ModelConfig, TrainConfig
from packd_jax.models import build_model
from packd_jax.quantize import float_f1, integer_f1, quantize_student
from packd_jax.quantize.fine_tune import FINE_TUNE
from packd_jax.train import Runs, fit

STEPS = TrainConfig(steps=200, batch_size=32, learning_rate=2e-2, evaluations=2)


@pytest.fixture(scope="module")
def trained():
    """A trained student with its training and validation rows."""
    student = small_student.float_student(width=4)
    rows = small_student.examples(student, rows=900)
    train, validation = rows.take(slice(0, 600)), rows.take(slice(600, None))
    runs = Runs(np.zeros(1, np.int32), np.zeros(1, np.int32), np.float32([STEPS.learning_rate]))
    model = build_model(student.model, student.inputs)
    best = fit(model, train, runs, [RowOrder(np.arange(600), 0)], validation, STEPS)
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), best.variables["params"])
    return student._replace(params=params), train, validation


def test_eight_bits_cost_nothing_worth_training_for(trained):
    student, train, validation = trained
    integers, how = quantize_student(student, train, validation)
    assert how.float_f1 > 0.6
    assert how.f1 == how.rounded_f1 == integer_f1(integers, validation)
    assert how.f1 >= how.float_f1 - 0.005 and not how.fine_tuned
    assert how.float_f1 == float_f1(student, validation, validation)


def test_f1_is_that_of_the_bits_at_or_above_the_threshold(trained):
    student, train, validation = trained
    integers, _ = quantize_student(student, train, validation)
    logits = integers.logits(validation.inputs)
    integers = dataclasses.replace(integers, threshold=int(np.median(logits)))
    truth = np.unpackbits(validation.labels, axis=1, bitorder="little") == 1
    said = logits >= integers.threshold
    expected = 2 * (said & truth).sum() / (said.sum() + truth.sum())
    assert integer_f1(integers, validation) == pytest.approx(expected)


def test_training_helps_where_rounding_costs_too_much(trained):
    student, train, validation = trained
    settings = dataclasses.replace(FINE_TUNE, steps=150, batch_size=32, evaluations=3)
    # One weight that is far larger than the rest, and is in nobody's way: coarse steps for all.
    params = jax.tree.map(np.array, student.params)
    params["output"]["kernel"][0, 0] = 40 * np.abs(params["output"]["kernel"]).max()
    params["output"]["bias"][0] = -1e4
    spoilt = student._replace(params=params)
    _, kept = quantize_student(spoilt, train, validation, 4, tolerance=1.0)
    integers, tuned = quantize_student(spoilt, train, validation, 4, settings=settings)
    assert not kept.fine_tuned and tuned.fine_tuned
    assert tuned.rounded_f1 == kept.f1 < tuned.float_f1 - 0.005
    assert tuned.f1 == integer_f1(integers, validation) > kept.f1


def test_without_rows_nothing_saturates_and_the_threshold_stays(trained):
    student, _, validation = trained
    integers, how = quantize_student(student)
    assert np.isnan([how.float_f1, how.f1]).all() and not how.fine_tuned
    error = integers.logits(validation.inputs) * integers.logit_scale
    error -= small_student.float_logits(student, validation.inputs)
    assert np.abs(error).max() < 1.0
    assert integers.threshold == np.ceil(student.threshold / integers.logit_scale)


def test_other_families_are_refused(trained):
    student, train, validation = trained
    with pytest.raises(ConfigError, match="the student is a mixer over tokens"):
        quantize_student(student._replace(model=ModelConfig("mixer")), train, validation)
