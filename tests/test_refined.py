"""Plans that are refined by measured cuts, by hand."""

import numpy as np
import pytest

from latency_jax.partition.plan import Chain, Device, Link
from latency_jax.partition.refined import refine
from latency_jax.partition.regret import measured_plans

# By prediction cut 2 is best for throughput: 2 s, and 1 s after it.
CHAIN = Chain(
    [Device("a", np.array([1.0, 1.0, 1.0])), Device("b", np.array([1.5, 1.5, 1.0]))],
    [Link(1000.0, 0.5)],
    np.array([1000, 500, 500, 0]),
)


def refined(seconds, **limits):
    asked = []

    def measure(cuts):
        asked.extend(cuts)
        return measured_plans(CHAIN, {cut: seconds[cut] for cut in cuts})

    found = refine(CHAIN, "throughput", measure, **limits)
    assert found.tried == tuple(asked)  # each is measured once
    return found


def test_a_prediction_that_holds_is_measured_once():
    assert refined({2: (2.0, 1.0)}) == ((2,), 2)
    assert refined({2: (20.0, 10.0)}) == ((2,), 2)  # both are off alike


def test_a_device_that_is_slower_than_predicted_gets_less():
    """After cut 2 a part takes 1.5 s on a, and 2 s in all remain on b; cut 1 has 1.5 s and 1 s."""
    assert refined({2: (3.0, 0.5), 1: (1.5, 1.0)}) == ((2, 1), 1)


def test_the_best_that_was_measured_is_chosen_whatever_came_last():
    seconds = {2: (3.0, 0.5), 1: (9.0, 9.0)}
    assert refined(seconds, most=2) == ((2, 1), 2)
    assert refined(seconds, most=1) == ((2,), 2)


def test_a_device_that_ran_nothing_is_as_predicted():
    """All on b is chosen first; it takes 8 s, so the second try is as was predicted of a."""
    fast = Chain([CHAIN.devices[0], Device("b", np.full(3, 0.1))], CHAIN.links, CHAIN.cut_bytes)
    plans = measured_plans(fast, {0: (0.0, 8.0), 3: (3.0, 0.0), 2: (2.0, 2.7)})
    found = refine(fast, "latency", lambda cuts: {cut: plans[cut] for cut in cuts})
    assert found.tried[:2] == (0, 3) and found.cut == 3
    assert plans[found.cut].latency_s == pytest.approx(3.0)
