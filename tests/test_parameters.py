"""Parameters: what is drawn and what is allowed; module configurations and their identity."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_jax.parameters import (
    CONDITIONS,
    SCALES,
    ModuleConfig,
    Parameter,
    ParameterError,
)

SIZE = Parameter("size", default=8, low=1, high=100, scale="log")
KERNEL = Parameter("kernel", default=3, low=1, high=11, choices=(1, 3, 3, 5))
SHARE = Parameter("share", default=0.0, low=0.0, high=1.0)
PADDING = Parameter("padding", default="SAME", choices=("SAME", "VALID"))
BIAS = Parameter("bias", default=True, choices=(True, False))


def drawn(parameter, draws=4000):
    rng = np.random.default_rng(0)
    return [parameter.sample(rng) for _ in range(draws)]


@st.composite
def ranged(draw):
    scale = draw(st.sampled_from(SCALES))
    low = draw(st.integers(1, 1000))
    high = draw(st.integers(2 * low, 4000))
    if scale != "sizes" and draw(st.booleans()):
        low, high = low / 8, high / 8
    return Parameter("p", default=low, low=low, high=high, scale=scale)


@given(ranged(), st.integers(0, 2**32))
def test_every_draw_is_allowed_and_of_the_parameters_type(parameter, seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        value = parameter.sample(rng)
        assert parameter.contains(value)
        assert type(value) is type(parameter.default)
        if parameter.scale == "powers_of_two":
            assert math.log2(value).is_integer()


def test_a_log_scale_draws_each_octave_equally_often():
    values = drawn(Parameter("p", default=1, low=1, high=1023, scale="log"))
    octaves = Counter(int(math.log2(value)) for value in values)
    assert sorted(octaves) == list(range(10))
    assert all(330 <= count <= 470 for count in octaves.values())


def test_half_of_the_sizes_are_multiples_of_eight():
    values = drawn(Parameter("p", default=64, low=64, high=4096, scale="sizes"))
    assert 0.5 <= np.mean([value % 8 == 0 for value in values]) <= 0.62


def test_a_linear_scale_is_even_and_reaches_both_ends():
    counts = Counter(drawn(Parameter("p", default=3, low=3, high=6)))
    assert sorted(counts) == [3, 4, 5, 6]
    assert all(900 <= count <= 1100 for count in counts.values())
    floats = drawn(SHARE)
    assert 0.48 <= np.mean(floats) <= 0.52
    assert min(floats) < 0.01 and max(floats) > 0.99


def test_a_choice_listed_twice_is_drawn_twice_as_often():
    counts = Counter(drawn(KERNEL))
    assert sorted(counts) == [1, 3, 5]
    assert 1.7 <= counts[3] / counts[1] <= 2.3


@pytest.mark.parametrize(
    ("parameter", "allowed", "refused"),
    [
        (SIZE, [1, 100, np.int64(7)], [0, 101, 7.0, True, "7", None, np.float64(7)]),
        (KERNEL, [1, 2, 11], [0, 12]),
        (SHARE, [0, 1, 0.5, np.float32(0.5)], [-0.1, 1.1, math.nan, math.inf, True, "0.5"]),
        (PADDING, ["SAME", np.str_("VALID")], ["same", "", 0]),
        (BIAS, [True, False, np.bool_(True)], [1, 0, "True"]),
    ],
)
def test_what_a_parameter_can_be(parameter, allowed, refused):
    assert all(parameter.contains(value) for value in allowed)
    assert not any(parameter.contains(value) for value in refused)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"default": 1}, r"^p = \(None, None\): expected choices, or low and high$"),
        ({"default": 1, "low": 3, "high": 2}, r"^p = \(3, 2\): expected low <= high"),
        ({"default": 5, "low": 1, "high": 2}, r"^p = 5: expected int from 1 to 2$"),
        ({"default": 1, "low": 1, "high": 2.5}, r"^p = \(1, 2\.5\): expected .* of type int$"),
        ({"default": "a", "choices": ("b",)}, r"^p = 'a': expected one of \('b',\)$"),
        ({"default": 1, "choices": (1, "b")}, r"^p = 'b': expected one of"),
        ({"default": 1, "low": 1, "high": 2, "scale": "cube"}, r"^p: scale = 'cube': expected one"),
        ({"default": 0, "low": 0, "high": 2, "scale": "log"}, r"^p: low = 0: expected above 0"),
        ({"default": 5, "low": 5, "high": 7, "scale": "powers_of_two"}, r"holds a power of two$"),
        ({"default": 1.0, "low": 1.0, "high": 2.0, "scale": "sizes"}, r"expected whole numbers"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        Parameter("p", **arguments)


values = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)  # fmt: skip
configs = st.builds(
    ModuleConfig,
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.dictionaries(st.text(max_size=5), values, max_size=4),
)


@given(configs)
def test_a_module_config_survives_json(config):
    again = ModuleConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.identity == config.identity


def test_the_identity_is_stable_and_ignores_order_and_numpy():
    one = ModuleConfig("dense", {"a": 1, "b": 2.5}, {"dtype": "float32"})
    other = ModuleConfig("dense", {"b": np.float64(2.5), "a": np.int32(1)}, {"dtype": "float32"})
    # What datasets on disk refer to; another value orphans them.
    assert one.identity == other.identity == "389bbe93f3d9cd6e"
    assert ModuleConfig("dense", {"a": 2, "b": 2.5}, {"dtype": "float32"}).identity != one.identity
    assert one.values == {"a": 1, "b": 2.5, "dtype": "float32"}


@pytest.mark.parametrize(
    "given_json",
    [
        None,
        [],
        {"kind": "dense"},
        {"kind": 3, "parameters": {}, "conditions": {}},
        {"kind": "dense", "parameters": [], "conditions": {}},
        {"kind": "dense", "parameters": {"a": None}, "conditions": {}},
        {"kind": "dense", "parameters": {}, "conditions": {"a": [1]}},
        {"kind": "dense", "parameters": {}, "conditions": {}, "more": 1},
    ],
)
def test_a_foreign_module_config_is_refused(given_json):
    with pytest.raises(ParameterError, match="expected"):
        ModuleConfig.from_json(given_json)


def test_conditions():
    assert [condition.name for condition in CONDITIONS] == [
        "batch_size",
        "dtype",
        "cpu_utilization",
        "memory_pressure",
        "threads",
    ]
