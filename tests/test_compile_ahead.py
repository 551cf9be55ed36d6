import math

import pytest

from latency_jax.measuring.compile_ahead import SmallModule, compile_all
from latency_jax.measuring.compiled_module import CompiledModule
from latency_jax.measuring.timing import MeasureConfig, plan_of
from latency_jax.parameters import ModuleConfig

SMALL = ModuleConfig("dense", {"in_features": 8, "out_features": 4}, {"batch_size": 2})
LARGE = ModuleConfig("dense", {"in_features": 1024, "out_features": 512}, {"batch_size": 64})
BAD = ModuleConfig("dense", {"in_features": -1}, {})


class Clock:
    """Any call takes as long."""

    def __init__(self, step_s):
        self.now, self.step_s = 0.0, step_s

    def __call__(self):
        self.now += self.step_s
        return self.now


def test_small_modules_have_one_program_and_large_ones_the_plain_one():
    small, large, bad = compile_all([SMALL, LARGE, BAD])
    assert isinstance(small, SmallModule) and "plain_program" not in vars(small)
    assert "loop_program" in vars(small)
    assert type(large) is CompiledModule and "plain_program" in vars(large)
    assert "loop_program" not in vars(large)
    assert isinstance(bad, str) and bad.startswith("ParameterError: dense.in_features = -1")


@pytest.mark.parametrize(("step_s", "method"), [(1e-4, "device"), (1.0, "wall")])
def test_small_modules_are_timed_either_way_without_the_plain_program(step_s, method):
    (small,) = compile_all([SMALL])
    config = MeasureConfig(repetition_s=4 * step_s * math.pi)
    assert plan_of(small, config, Clock(step_s)).method == method
    assert "plain_program" not in vars(small)
