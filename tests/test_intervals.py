import json
from dataclasses import replace

import numpy as np
import pytest

from latency_jax.intervals import Domain, Interval
from latency_jax.table import TableError, make_table


def measurements(rows, seed, spread):
    """Predictions, and measurements around them whose log deviates by `spread(predicted)`."""
    rng = np.random.default_rng(seed)
    predicted = np.exp(rng.uniform(np.log(1e-5), np.log(1e-1), rows))
    return predicted * np.exp(spread(predicted) * rng.standard_normal(rows)), predicted


def noisy_when_short(predicted):
    return np.interp(np.log10(predicted), [-5, -1], [0.4, 0.02])


def covered(interval, measured, predicted):
    low, high = interval.bounds(predicted)
    assert (low <= predicted).all() and (predicted <= high).all()
    return (low <= measured) & (measured <= high)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("rows", [60, 300, 3000])
def test_covers_as_much_as_it_says(rows, coverage):
    shares = []
    for seed in range(30):
        interval = Interval.fit(*measurements(rows, seed, noisy_when_short), coverage)
        shares.append(covered(interval, *measurements(2000, 1000 + seed, noisy_when_short)).mean())
    assert np.mean(shares) == pytest.approx(coverage, abs=0.02)


def test_many_rows_tell_where_it_is_difficult():
    interval = Interval.fit(*measurements(4000, 0, noisy_when_short))
    measured, predicted = measurements(20_000, 1, noisy_when_short)
    is_covered, is_short = covered(interval, measured, predicted), predicted < 1e-3
    for part in (is_short, ~is_short):
        assert is_covered[part].mean() == pytest.approx(0.9, abs=0.05)
    low, high = interval.bounds(np.array([1e-4, 5e-2]))
    short, long = np.log(high / low)
    assert short > 4 * long
    # One width for all would have to be as wide as the difficult ones need.
    flat = Interval(0.9, float(np.quantile(np.abs(np.log(measured / predicted)), 0.9)))
    low, high = interval.bounds(predicted)
    flat_low, flat_high = flat.bounds(predicted)
    assert np.log(high / low).mean() < 0.9 * np.log(flat_high / flat_low).mean()


def test_reach_is_the_rank_that_conformal_prediction_says():
    predicted = np.ones(19)
    measured = np.exp(np.arange(1, 20) / 100)  # errors .01 to .19; rank ceil(20 * .9) = 18
    interval = Interval.fit(measured, predicted)
    assert interval.reach == pytest.approx(0.18)
    low, high = interval.bounds(np.array([2.0]))
    np.testing.assert_allclose([low[0], high[0]], [2 * np.exp(-0.18), 2 * np.exp(0.18)])


def test_too_few_rows_promise_nothing():
    interval = Interval.fit(np.full(8, 1.1), np.ones(8))  # 90 % of 9 rows are more than 8
    assert interval.reach is None
    low, high = interval.bounds(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(low, [0, 0])
    np.testing.assert_array_equal(high, [np.inf, np.inf])


def test_no_error_is_no_width():
    predicted = np.geomspace(1e-5, 1, 1000)
    low, high = Interval.fit(predicted, predicted).bounds(predicted)
    np.testing.assert_allclose(low, predicted)
    np.testing.assert_allclose(high, predicted)


@pytest.mark.parametrize("rows", [5, 100, 1000])
def test_interval_comes_back_from_json(rows):
    interval = Interval.fit(*measurements(rows, 0, noisy_when_short))
    again = Interval.from_json(json.loads(json.dumps(interval.to_json())))
    assert again == interval


@pytest.mark.parametrize(
    "values",
    [
        {},
        None,
        {"coverage": 0.9, "reach": 1, "knots": [1.0], "spreads": []},
        {"coverage": 0.9, "reach": "far", "knots": [], "spreads": []},
    ],
)
def test_foreign_intervals_are_refused(values):
    with pytest.raises(ValueError, match="not an interval"):
        Interval.from_json(values)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match=r"measured \(3,\), predicted \(2,\)"):
        Interval.fit(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"coverage = 1\.5"):
        Interval.fit(np.ones(3), np.ones(3), 1.5)


def dense(**columns):
    rows = len(next(iter(columns.values())))
    return make_table("dense", columns, np.ones(rows))


TRAIN = dense(
    batch_size=np.array([1, 8, 64, 2]),
    in_features=np.array([16, 128, 16, 1024]),
    out_features=np.array([512, 128, 16, 1024]),
    activation=np.array(["none", "relu", "relu", "none"]),
)


def asked(**changes):
    values = {"batch_size": 8, "in_features": 128, "out_features": 128, "activation": "relu"}
    return dense(**{name: np.array([value]) for name, value in {**values, **changes}.items()})


@pytest.mark.parametrize(
    ("changes", "inside"),
    [
        ({}, True),
        ({"batch_size": 64, "in_features": 16, "out_features": 16}, True),
        ({"batch_size": 65}, False),
        ({"in_features": 8}, False),
        ({"activation": "gelu"}, False),
        # Every number has been seen; work of this size has not.
        ({"batch_size": 64, "in_features": 1024, "out_features": 1024}, False),
        # Training said nothing of biases, so all of it had the usual one.
        ({"use_bias": True}, True),
        ({"use_bias": False}, False),
    ],
)
def test_domain_is_what_training_held(changes, inside):
    domain = Domain.fit(TRAIN)
    again = Domain.from_json(json.loads(json.dumps(domain.to_json())))
    for each in (domain, again):
        assert each.contains(asked(**changes)).tolist() == [inside]
    assert domain.contains(TRAIN).all()


def test_codes_of_categories_are_no_range():
    codes = replace(TRAIN, columns={**TRAIN.columns, "activation": np.array([0, 1, 3, 0])})
    domain = Domain.fit(codes)
    assert domain.categories == {"activation": ("0", "1", "3")}
    assert domain.contains(asked(activation=3)).tolist() == [True]
    assert domain.contains(asked(activation=2)).tolist() == [False]


def test_a_constant_column_is_part_of_the_domain():
    table = make_table("generic", {"n": np.arange(5), "gpu": np.full(5, 7)}, np.ones(5))
    domain = Domain.fit(table)
    asked = make_table("generic", {"n": np.array([1, 1]), "gpu": np.array([7, 8])}, np.ones(2))
    assert domain.contains(asked).tolist() == [True, False]


def test_columns_that_do_not_fit_are_refused():
    domain = Domain.fit(TRAIN)
    with pytest.raises(TableError, match="no column 'batch_size'"):
        domain.contains(dense(in_features=np.array([1])))
    with pytest.raises(TableError, match="'batch_size' holds text"):
        domain.contains(asked(batch_size="8"))
    with pytest.raises(ValueError, match="not a domain"):
        Domain.from_json({"kind": "dense"})
