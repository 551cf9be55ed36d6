"""Plans against every plan there is."""

from itertools import combinations_with_replacement

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from latency_jax.partition.plan import Chain, Device, Link, best_plan


@st.composite
def chains(draw):
    """Chains of up to four devices and six parts, in whole milliseconds so that ties occur."""
    count, parts = draw(st.integers(1, 4)), draw(st.integers(1, 6))

    def whole(size, high):
        return np.array(draw(st.lists(st.integers(0, high), min_size=size, max_size=size)))

    devices = [Device(f"d{k}", whole(parts, 9) * 1e-3) for k in range(count)]
    links = [
        Link(float(draw(st.sampled_from([1e5, 1e6]))), draw(st.sampled_from([0.0, 1e-3])))
        for _ in range(count - 1)
    ]
    cut_bytes = np.append(whole(parts, 3) * 1000, 0)
    return Chain(devices, links, cut_bytes, draw(st.sampled_from([0, 500])))


def by_hand(chain, bounds):
    """(latency, interval) of a split: what each device and link spends, one after the other."""
    parts, stages, waits = len(chain.cut_bytes) - 1, [], 0.0
    last = max((k for k in range(len(chain.devices)) if bounds[k] < bounds[k + 1]), default=0)
    for k in range(last + 1):
        stages.append(chain.devices[k].latency_s[bounds[k] : bounds[k + 1]].sum())
        if k < last:
            crossing = chain.cut_bytes[bounds[k + 1]] + chain.returned_bytes
            stages.append(crossing / chain.links[k].bandwidth)
            waits += chain.links[k].delay_s * (2 if chain.returned_bytes else 1)
    assert bounds[last + 1] == parts
    return sum(stages) + waits, max(stages)


def all_bounds(chain):
    parts = len(chain.cut_bytes) - 1
    for cuts in combinations_with_replacement(range(parts + 1), len(chain.devices) - 1):
        yield (0, *cuts, parts)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(chains())
def test_the_best_plan_is_the_best_of_all(chain):
    costs = {bounds: by_hand(chain, bounds) for bounds in all_bounds(chain)}
    for bounds, (latency, interval) in costs.items():
        plan = chain.plan(bounds)
        assert (plan.latency_s, plan.interval_s) == pytest.approx((latency, interval), rel=1e-9)
    fastest = best_plan(chain, "latency")
    assert fastest.latency_s == pytest.approx(min(c[0] for c in costs.values()), rel=1e-9)
    steadiest = best_plan(chain, "throughput")
    interval = min(c[1] for c in costs.values())
    assert steadiest.interval_s == pytest.approx(interval, rel=1e-9)
    equal = [c[0] for c in costs.values() if c[1] <= interval * (1 + 1e-9)]
    assert steadiest.latency_s == pytest.approx(min(equal), rel=1e-9)


SLOW = Device("edge", np.array([1.0, 4.0, 1.0]))
FAST = Device("server", np.array([0.5, 0.5, 0.5]))
CUT_BYTES = np.array([800, 100, 400, 0])


def test_latency_and_throughput_are_different_things():
    """One input is fastest cut where little crosses; a stream wants both machines busy."""
    chain = Chain([SLOW, FAST], [Link(100.0, 0.0)], CUT_BYTES)
    fastest = best_plan(chain, "latency")
    assert (fastest.bounds, fastest.latency_s) == ((0, 1, 3), 1 + 1 + 1)
    assert (fastest.interval_s, fastest.throughput) == (1.0, 1.0)
    even = Chain([SLOW, SLOW], [Link(1000.0, 2.0)], CUT_BYTES)
    assert best_plan(even, "latency").bounds == (0, 3, 3)
    steadiest = best_plan(even, "throughput")
    assert steadiest.bounds == (0, 2, 3) or steadiest.bounds == (0, 1, 3)
    assert steadiest.interval_s == 5.0 and steadiest.latency_s > 6.0


def test_a_slow_link_keeps_all_on_the_first_device_and_a_result_may_have_to_return():
    chain = Chain([SLOW, FAST], [Link(1.0, 0.0)], CUT_BYTES)
    assert best_plan(chain, "latency").bounds == (0, 3, 3)
    quick = Chain([SLOW, FAST], [Link(1000.0, 0.5)], CUT_BYTES)
    assert best_plan(quick, "latency").latency_s == pytest.approx(1 + 0.1 + 0.5 + 1)
    back = Chain([SLOW, FAST], [Link(1000.0, 0.5)], CUT_BYTES, returned_bytes=1000)
    plan = best_plan(back, "latency")
    assert plan.latency_s == pytest.approx(1 + 0.1 + 1.0 + 2 * 0.5 + 1.0)
    assert plan.bounds == (0, 1, 3)


def test_devices_may_be_passed_through():
    idle = Device("idle", np.array([9.0, 9.0, 9.0]))
    links = [Link(1000.0, 0.0), Link(1000.0, 0.0)]
    plan = best_plan(Chain([SLOW, idle, FAST], links, CUT_BYTES), "latency")
    assert plan.device_s[1] == 0 and plan.bounds[1] == plan.bounds[2] == 1
    assert plan.transfer_s == (0.1, 0.1)


def test_wrong_sizes_and_objectives_are_refused():
    with pytest.raises(ValueError, match="2 devices, 0 links"):
        Chain([SLOW, FAST], [], CUT_BYTES)
    with pytest.raises(ValueError, match=r"'edge' has latencies \(3,\)"):
        Chain([SLOW], [], CUT_BYTES[1:])
    with pytest.raises(ValueError, match="bandwidth above 0"):
        Chain([SLOW, FAST], [Link(0.0, 0.0)], CUT_BYTES)
    chain = Chain([SLOW, FAST], [Link(1.0, 0.0)], CUT_BYTES)
    with pytest.raises(ValueError, match="expected one of"):
        best_plan(chain, "cost")
    for bounds in ((0, 3), (0, 4, 3), (1, 2, 3), (0, 2, 2)):
        with pytest.raises(ValueError, match="rise from 0 to 3"):
            chain.plan(bounds)
