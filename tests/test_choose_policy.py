"""The policy that is chosen is the one that a search by hand finds."""

import itertools
import math

import numpy as np
import pytest
import small_student
import small_study

from packd_jax.config import CacheLevelConfig, ConfigError
from packd_jax.prefetch import choose_policy as chosen
from packd_jax.prefetch.learned import choose_prefetches, decide, probabilities
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.policy import PolicyConfig
from packd_jax.prefetch.prefetcher import precomputed
from packd_jax.prefetch.retention import RetentionConfig
from packd_jax.prefetch.simulator import simulate
from packd_jax.traces.load_trace import window_rows

MACHINE = Machine(llc=CacheLevelConfig(64 * 32, 2, 20), only_mapped_pages=False)


def setting():
    trace = small_study.trace(400)
    student = small_student.float_student()
    start = int(trace.instr_id[200])
    rows = window_rows(trace, start, 1 << 60, "instructions")
    return trace, student, start, list(probabilities(student, trace, rows))


def cycles(trace, thoughts, start, policy, retention=None):
    blocks = decide(thoughts, trace, policy, retention)
    return simulate(trace, precomputed("x", blocks, 0), MACHINE, start).est_cycles


def test_threshold_and_nearness_are_the_best_of_all_then_the_rest():
    trace, _, start, thoughts = setting()
    exact = chosen.Objective(tolerance=0)
    found = chosen.best_policy(thoughts, trace, MACHINE, start, exact)
    tried = {
        pair: cycles(trace, thoughts, start, PolicyConfig(threshold=pair[0], nearness=pair[1]))
        for pair in itertools.product(chosen.THRESHOLDS, chosen.NEARNESS)
    }
    assert len(set(tried.values())) > 1
    policy = found.policy
    assert tried[policy.threshold, policy.nearness] == min(tried.values())
    assert found.loss == cycles(trace, thoughts, start, policy) <= min(tried.values())
    assert found.retention is None


def test_of_those_as_good_as_the_best_the_thriftiest():
    policies = [PolicyConfig(threshold=t) for t in (0.1, 0.2, 0.3)]
    tried = [
        chosen.Choice(policy, None, loss, issued)
        for policy, loss, issued in zip(policies, (1000, 1009, 1011), (50, 40, 10))
    ]
    assert chosen.Objective().best(tried) == tried[1]
    assert chosen.Objective(tolerance=0).best(tried) == tried[0]
    assert chosen.Objective(tolerance=0.5).best(tried) == tried[2]
    negative = [c._replace(loss=-c.loss) for c in tried]
    assert chosen.Objective("coverage", tolerance=0.002).best(negative) == negative[2]


def test_retention_is_chosen_among_those_given():
    trace, _, start, thoughts = setting()
    tables = RetentionConfig(4, 15), RetentionConfig(256, 1)
    exact = chosen.Objective(tolerance=0)
    found = chosen.best_policy(thoughts, trace, MACHINE, start, exact, tables)
    assert found.retention in tables
    for table in tables:
        assert found.loss <= cycles(trace, thoughts, start, found.policy, table)


def test_a_window_alone_is_looked_at():
    trace, student, start, _ = setting()
    stop = int(trace.instr_id[300])
    later = trace._replace(address=np.where(np.arange(400) < 300, trace.address, 1 << 30))
    one, other = (chosen.choose_policy(student, t, MACHINE, start, stop) for t in (trace, later))
    assert one == other
    assert choose_prefetches(student, trace, one).shape == (400, 2)


def test_without_loads_to_choose_by_there_is_a_default():
    trace, _, _, _ = setting()
    found = chosen.best_policy([], trace, MACHINE, int(trace.instr_id.max()) + 1)
    assert found.policy == PolicyConfig(degree=2) and math.isnan(found.loss)


def test_objectives():
    trace, _, start, thoughts = setting()
    policy = PolicyConfig(threshold=0.5)
    blocks = decide(thoughts, trace, policy)
    outcome = simulate(trace, precomputed("x", blocks, 0), MACHINE, start)
    assert chosen.Objective().loss(outcome) == outcome.est_cycles
    assert chosen.Objective("coverage", 0.0).loss(outcome) == -outcome.coverage
    missing = chosen.Objective("coverage", 1.0).loss(outcome)
    assert missing == 2 - outcome.accuracy > 0
    with pytest.raises(ConfigError, match=r"objective.name = 'speed': expected one of"):
        chosen.Objective("speed")
    with pytest.raises(ConfigError, match=r"objective.accuracy_floor = 2: expected 0 to 1"):
        chosen.Objective("coverage", 2)
    with pytest.raises(ConfigError, match=r"objective.tolerance = 1: expected 0 or more, below 1"):
        chosen.Objective(tolerance=1)
