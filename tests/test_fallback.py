"""Rates that are recovered from machines whose rates are known."""

from typing import NamedTuple

import numpy as np
import pytest

from latency_jax.modules import get_kind, sample_config
from latency_jax.parameters import CONDITIONS, Value
from latency_jax.whole_model.fallback import Roofline, columns_of, roofline_of

IDLE = {"cpu_utilization": 0.0, "memory_pressure": 0.0, "threads": 0}
KINDS = ("dense", "conv2d", "layer_norm", "batch_norm", "global_pool", "concat", "activation")


class Seconds(NamedTuple):
    latency: np.ndarray
    in_domain: np.ndarray


class Machine:
    """Predicts by a roofline, slower under load; of large calls it says that it does not know."""

    def __init__(self, flop_rate, byte_rate, overhead_s=1e-6, kinds=KINDS, known_flops=np.inf):
        self.kinds = kinds
        self.known_flops = known_flops
        self.roofline = Roofline(flop_rate, byte_rate, overhead_s, 1.0, 1.0)

    def predict(self, kind, columns):
        cost = get_kind(kind).cost(columns)
        seconds = self.roofline.seconds(cost.flops, cost.bytes) * (1 + columns["cpu_utilization"])
        in_domain = cost.flops <= self.known_flops
        return Seconds(np.where(in_domain, seconds, 1e3), in_domain)


def test_seconds_are_those_of_the_slower_side():
    roofline = Roofline(1e9, 1e8, 1e-3, 0.5, 2.0)
    found = roofline.seconds(np.array([0.0, 1e9, 1e6]), np.array([0.0, 1e6, 1e8]))
    np.testing.assert_allclose(found, [1e-3, 1.001, 1.001])
    no_products = Roofline(np.inf, 1e8, 0.0, 1.0, 1.0)
    np.testing.assert_allclose(no_products.seconds(np.zeros(1), np.array([1e6])), 0.01)


@pytest.mark.parametrize("rate", [1e8, 1e12])
def test_the_side_that_holds_calls_up_has_its_rate(rate):
    """Of the other side no call shows more than that it is faster."""
    computing = roofline_of(Machine(rate, 1e3 * rate, 1e-3 / rate), IDLE)
    assert computing.flop_rate == pytest.approx(rate, rel=0.01)
    moving = roofline_of(Machine(1e6 * rate, rate, 1e-3 / rate), IDLE)
    assert moving.byte_rate == pytest.approx(rate, rel=0.01)
    assert 0 < computing.byte_rate <= 1e3 * rate and 0 < moving.flop_rate <= 1e6 * rate


@pytest.mark.parametrize("byte_rate", [3e8, 1e9, 1e10])
def test_no_rate_is_beyond_the_machine_and_most_calls_are_near_it(byte_rate):
    machine = Machine(1e10, byte_rate)
    found = roofline_of(machine, IDLE)
    assert found.flop_rate <= 1e10 and found.byte_rate <= byte_rate
    assert found.overhead_s >= machine.roofline.overhead_s
    assert 0 < found.low <= found.high == 1  # so that it says too much rather than too little
    rng = np.random.default_rng(9)  # other calls than those that the rates are from
    off = {c.name: "off" for c in CONDITIONS if c.name != "batch_size"}
    factors = []
    for kind in KINDS:
        columns = columns_of([sample_config(kind, rng, off).values for _ in range(40)], IDLE)
        cost = get_kind(kind).cost(columns)
        factors.append(machine.predict(kind, columns)[0] / found.seconds(cost.flops, cost.bytes))
    within = np.concatenate(factors) >= 0.95 * found.low
    assert within.mean() >= 0.9 and np.median(np.concatenate(factors)) > 0.7
    assert found == roofline_of(machine, IDLE)  # the same draws every time


def test_conditions_are_those_of_the_calls():
    machine = Machine(1e10, 1e9)
    idle, busy = (roofline_of(machine, IDLE | {"cpu_utilization": u}) for u in (0.0, 1.0))
    assert idle.overhead_s == pytest.approx(busy.overhead_s / 2)
    assert idle.flop_rate == pytest.approx(2 * busy.flop_rate)
    assert idle.byte_rate == pytest.approx(2 * busy.byte_rate)
    assert (idle.low, idle.high) == pytest.approx((busy.low, busy.high))


def test_calls_beyond_what_the_model_knows_do_not_count_unless_there_are_no_others():
    some = roofline_of(Machine(1e10, 1e9, kinds=("dense",), known_flops=1e7), IDLE)
    assert some.seconds(np.array([1e6]), np.array([1e5])) < 1e-2  # 1,000 s stand for a guess
    none = roofline_of(Machine(1e10, 1e9, kinds=("dense",), known_flops=-1.0), IDLE)
    assert none.overhead_s == 1e3


def test_without_flops_bytes_alone_say_how_long():
    found = roofline_of(Machine(1e9, 1e9, 1e-9, kinds=("concat",)), IDLE)
    assert found.flop_rate == np.inf
    assert found.seconds(np.zeros(1), np.array([1e6])) == pytest.approx(1e-3, rel=0.01)


def test_kinds_that_are_not_registered_here_are_left_out():
    known = roofline_of(Machine(1e10, 1e9), IDLE)
    assert known == roofline_of(Machine(1e10, 1e9, kinds=("foreign", *KINDS)), IDLE)
    with pytest.raises(ValueError, match=r"\('foreign',\): expected a registered one"):
        roofline_of(Machine(1e10, 1e9, kinds=("foreign",)), IDLE)


def test_columns_have_the_conditions_of_all_rows():
    first: dict[str, Value] = {"features": 3, "padding": "SAME", "threads": 0}
    columns = columns_of(
        [first, first | {"features": 5, "padding": "VALID"}], {"threads": 2, "unused": 1}
    )
    assert {name: column.tolist() for name, column in columns.items()} == {
        "features": [3, 5],
        "padding": ["SAME", "VALID"],
        "threads": [2, 2],
    }
    assert set(IDLE) == {c.name for c in CONDITIONS} - {"batch_size", "dtype"}
