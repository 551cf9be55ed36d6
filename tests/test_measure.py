import itertools
import math
from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from latency_jax.measuring.compiled_module import CompiledModule, sentinel_module
from latency_jax.measuring.load import BackgroundLoad, Load
from latency_jax.measuring.measure import measure, measure_many
from latency_jax.measuring.timing import CAREFUL, FAST, MeasureConfig, median_interval

CALL_S = 4e-5  # what a call adds


class Machine:
    """A clock that only work moves; `slowdown` gives the factor at a moment."""

    def __init__(self, slowdown=lambda now: 1.0):
        self.now, self.slowdown, self.log = 0.0, slowdown, []

    def clock(self):
        return self.now

    def spend(self, name, seconds):
        self.log.append(name)
        self.now += seconds * self.slowdown(self.now)


class Work:
    """A module of known latency on such a machine."""

    size_bytes = 100

    def __init__(self, machine, latency_s, name="work", factors=(1.0,)):
        self.machine, self.latency_s, self.name = machine, latency_s, name
        self.factors = itertools.cycle(factors)

    def call(self):
        self.machine.spend(self.name, CALL_S + self.latency_s * next(self.factors))

    def loop(self, trips):
        self.machine.spend(self.name, CALL_S + trips * self.latency_s * next(self.factors))


@given(st.floats(1e-8, 9e-4))
@settings(deadline=None)
def test_slope_is_the_latency_without_what_a_call_adds(latency_s):
    machine = Machine()
    result = measure(Work(machine, latency_s), clock=machine.clock)
    assert result.method == "device"
    assert result.latency_s == pytest.approx(latency_s, rel=1e-6)
    assert result.overhead_s == pytest.approx(CALL_S + latency_s, rel=1e-6)
    low, high = result.trips
    # Long beside the clock, not much longer than asked for.
    assert (
        0.99 <= (high - low) * latency_s / FAST.repetition_s <= 1.01 + latency_s / FAST.repetition_s
    )


@given(st.floats(1e-3, 20.0))
@settings(deadline=None)
def test_long_modules_are_called_and_waited_for(latency_s):
    machine = Machine()
    result = measure(Work(machine, latency_s), clock=machine.clock)
    assert result.method == "wall" and result.trips == (0, 1)
    assert result.latency_s == pytest.approx(latency_s + CALL_S, rel=1e-6)
    assert (result.overhead_s == 0).all()


def test_a_window_ends_once_the_median_is_known():
    machine = Machine()
    steady = measure(Work(machine, 1e-5), clock=machine.clock)
    assert np.bincount(steady.window).tolist() == [6] * FAST.windows  # the fewest that bound it
    wide = (0.8, 1.1, 0.9, 1.3, 1.2)
    start = machine.now
    noisy = measure(Work(machine, 5e-3, factors=wide), FAST, clock=machine.clock)
    assert noisy.method == "wall"
    assert np.bincount(noisy.window).tolist() == [2, 1, 2]  # 6 ms of 4 to 6.5 ms each
    assert noisy.time_s[0] >= start and (np.diff(noisy.time_s) >= FAST.window_s).all()


def test_latency_is_the_low_quantile_of_quantiles_and_repetitions_are_kept():
    machine = Machine()
    work = Work(machine, 5e-3, factors=(1.0, 1.5, 2.0, 1.2, 1.7, 1.1, 1.9))
    config = MeasureConfig(
        windows=4,
        max_windows=4,
        window_s=0.1,
        tight=0,
        agree=1,
        repetition_quantile=0.1,
        window_quantile=0.25,
    )
    result = measure(work, config, clock=machine.clock)
    centres = [np.quantile(result.repetitions_s[result.window == w], 0.1) for w in range(4)]
    assert len(set(centres)) > 1
    assert result.latency_s == pytest.approx(np.quantile(centres, 0.25))
    assert result.interval_s == pytest.approx((np.min(centres), np.median(centres)))
    mean = measure(work, replace(config, repetition_quantile=None), clock=machine.clock)
    means = [mean.repetitions_s[mean.window == w].mean() for w in range(4)]
    assert mean.latency_s == pytest.approx(np.quantile(means, 0.25))


def test_loops_of_uneven_trips_give_the_mean_under_load():
    machine = Machine()
    config = MeasureConfig(agree=1).under_load()
    result = measure(Work(machine, 2e-3, factors=(1.0, 3.0)), config, clock=machine.clock)
    assert result.latency_s == pytest.approx(2 * 2e-3 + CALL_S, rel=0.1)
    least = replace(FAST, window_s=0.02)
    fast = measure(Work(machine, 2e-3, factors=(1.0, 3.0)), least, clock=machine.clock)
    assert fast.latency_s == pytest.approx(2e-3 + CALL_S)


@pytest.mark.parametrize("n", [6, 7, 8, 10, 15, 30, 31, 100, 333])
def test_the_interval_holds_the_median_95_times_of_100(n):
    low, high = median_interval([float(i) for i in range(n)])
    # The median lies between the two where at least `low + 1` and at most `high` values are below.
    assert binom.cdf(high, n, 0.5) - binom.cdf(low, n, 0.5) >= 0.95
    assert n < 10 or binom.cdf(high - 1, n, 0.5) - binom.cdf(low + 1, n, 0.5) < 0.96


def test_five_values_bound_no_median():
    assert median_interval([1.0] * 5) == (-math.inf, math.inf)


def _works(machine, count):
    return [(f"w{i}", Work(machine, 1e-5 * (i + 1), f"w{i}")) for i in range(count)]


def test_trips_chosen_in_a_disturbance_are_raised_later():
    # After four calls, a loop and four short loops come the loops that decide.
    machine = Machine(lambda now: 60.0 if 9 * CALL_S - 1e-5 < now < 9e-3 else 1.0)
    result = measure(Work(machine, 1e-7), FAST, clock=machine.clock)
    assert result.latency_s == pytest.approx(1e-7)
    low, high = result.trips
    assert (high - low) * 1e-7 >= FAST.repetition_s / 4
    assert np.log(high - low) / np.log(4) == pytest.approx(round(np.log(high - low) / np.log(4)))


def test_windows_of_a_module_lie_apart():
    machine = Machine()
    results = dict(measure_many(_works(machine, 8), np.random.default_rng(0), clock=machine.clock))
    assert results.keys() == {f"w{i}" for i in range(8)}
    for i in range(8):
        assert results[f"w{i}"].latency_s == pytest.approx(1e-5 * (i + 1))
    start_s = np.array([results[f"w{i}"].time_s for i in range(8)])
    for earlier, later in itertools.pairwise(start_s.T):
        assert later.min() > earlier.max()  # every module has a window before one has the next
        assert (np.argsort(later) != np.argsort(earlier)).any()


def test_modules_are_taken_a_chunk_at_a_time():
    machine = Machine()
    taken = []

    def source():
        for key, work in _works(machine, 10):
            taken.append(key)
            yield key, work

    order = np.random.default_rng(0)
    config = replace(FAST, chunk=2)
    results = measure_many(source(), order, config, clock=machine.clock)
    assert taken == []
    done = {next(results)[0], next(results)[0]}
    assert done == {"w0", "w1"} and len(taken) == 2 * config.windows
    assert len(list(results)) == 8 and len(taken) == 10


def test_memory_of_modules_in_flight_is_bounded():
    machine = Machine()
    config = replace(FAST, chunk=100, flight_bytes=250)  # works of 100 bytes
    order = np.random.default_rng(0)
    results = list(measure_many(_works(machine, 7), order, config, clock=machine.clock))
    assert [key for key, _ in results[:3]] == ["w0", "w1", "w2"] and len(results) == 7


def test_the_sentinel_shows_when_the_machine_was_slow_and_the_least_window_counts():
    machine = Machine(lambda now: 2.0 if 0.03 < now < 0.05 else 1.0)
    sentinel = Work(machine, 3e-5, "sentinel")
    results = dict(
        measure_many(
            _works(machine, 6), np.random.default_rng(0), sentinel=sentinel, clock=machine.clock
        )
    )
    sentinel_s = np.concatenate([r.sentinel_s for r in results.values()])
    assert (sentinel_s > 5.9e-5).any() and (sentinel_s < 4e-5).any()
    for i, result in enumerate(results[f"w{i}"] for i in range(6)):
        assert result.latency_s == pytest.approx(1e-5 * (i + 1))
        assert len(result.sentinel_s) == len(result.time_s) == FAST.windows


def test_windows_that_disagree_call_for_more():
    machine = Machine(lambda now: 1.0 + 5.0 * now)
    result = measure(Work(machine, 1e-5), CAREFUL, clock=machine.clock)
    assert len(result.time_s) == CAREFUL.max_windows
    machine = Machine()
    steady = measure(Work(machine, 1e-5), CAREFUL, clock=machine.clock)
    assert len(steady.time_s) == CAREFUL.windows


def test_an_error_names_the_module():
    class Broken(Work):
        def call(self):
            raise ValueError("no such shape")

    with pytest.raises(ValueError, match="no such shape") as caught:
        list(measure_many([("conv7", Broken(Machine(), 1.0))], np.random.default_rng(0)))
    assert caught.value.__notes__ == ["while 'conv7' was compiled and warmed up"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("windows", 0),
        ("max_windows", 2),
        ("window_s", 0.0),
        ("repetition_s", -1.0),
        ("repetition_quantile", 1.5),
        ("window_quantile", -0.1),
        ("chunk", 0),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field} = {value}.*expected"):
        MeasureConfig(**{field: value})


def test_real_modules_are_measured_both_ways_and_beside_a_load():
    small = CompiledModule(nn.Dense(4), (jax.ShapeDtypeStruct((2, 8), np.float32),))
    config = MeasureConfig(windows=1, max_windows=1, window_s=1e-3, repetition_s=1e-4, chunk=1)
    with BackgroundLoad(Load(), cores=[0]) as load:
        ((key, result),) = measure_many(
            [("small", small)],
            np.random.default_rng(0),
            config,
            sentinel=sentinel_module(),
            load=load,
        )
    assert key == "small" and result.latency_s > 0 and result.sentinel_s[0] > 0
    assert result.load == Load() and result.repetitions_s.dtype == np.float64
    wall = measure(small, replace(config, device_below_s=0))
    assert wall.method == "wall" and wall.latency_s > 0
