"""Customizations: every spelling of what is drawn, and those that are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_jax.customization import customized, spec_text
from latency_jax.parameters import SCALES, Parameter, ParameterError

SIZE = Parameter("size", default=8, low=1, high=100, scale="log")
KERNEL = Parameter("kernel", default=3, low=1, high=11, choices=(1, 3, 3, 5))
SHARE = Parameter("share", default=0.0, low=0.0, high=1.0)
PADDING = Parameter("padding", default="SAME", choices=("SAME", "VALID"))
BIAS = Parameter("bias", default=True, choices=(True, False))


def drawn(parameter, draws=500):
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


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("off", "off"),
        (3, "3"),
        (np.float64(0.1), "0.1"),
        (False, "False"),
        ([1, 3], "1,3"),
        (("SAME", "VALID"), "SAME,VALID"),
        ({"low": 1, "high": 64}, "1:64"),
        ({"low": 1, "high": 64, "scale": "log"}, "1:64:log"),
        ({"high": 64}, ":64"),
        ({"scale": "log"}, "::log"),
    ],
)
def test_a_customization_as_text(spec, text):
    assert spec_text(spec) == text
    assert spec_text(text) == text


@pytest.mark.parametrize("spec", ["off", True, [True, True]])
def test_what_is_fixed_is_no_input(spec):
    fixed = customized(BIAS, spec)
    assert not fixed.is_input
    assert set(drawn(fixed, 20)) == {True}
    assert BIAS.is_input and SIZE.is_input and KERNEL.is_input


def test_values_lists_and_ranges_replace_what_is_drawn():
    assert customized(SIZE, "on") is SIZE
    assert customized(SIZE, "off").choices == (8,)
    assert (customized(SIZE, 50).choices, customized(SIZE, 50).default) == ((50,), 50)
    assert customized(KERNEL, "2, 4").choices == (2, 4)
    assert customized(PADDING, "VALID").default == "VALID"
    assert customized(BIAS, "false").choices == (False,)
    assert customized(SHARE, [0, 1]).choices == (0.0, 1.0)

    narrow = customized(KERNEL, {"low": 5, "high": 7})
    assert (narrow.choices, narrow.low, narrow.high, narrow.default) == ((), 5, 7, 5)
    assert set(drawn(narrow)) == {5, 6, 7}
    assert customized(SIZE, ":16:powers_of_two").scale == "powers_of_two"
    assert set(drawn(customized(SIZE, ":16:powers_of_two"))) == {1, 2, 4, 8, 16}
    assert not customized(SIZE, "9:9").is_input


@given(ranged())
def test_a_range_survives_the_text(parameter):
    wide = Parameter("p", parameter.default, (), parameter.low, parameter.high, parameter.scale)
    spec = {"low": wide.low, "high": wide.high, "scale": wide.scale}
    assert customized(wide, spec) == wide
    assert customized(wide, spec_text(spec)) == wide


@pytest.mark.parametrize(
    ("parameter", "spec", "message"),
    [
        (SIZE, 0, r"^size = 0: expected int from 1 to 100$"),
        (SIZE, "many", r"^size = 'many': expected int from 1 to 100$"),
        (SIZE, 1.5, r"^size = '1\.5': expected int"),
        (SIZE, True, r"^size = 'True': expected int"),
        (SIZE, "1:2:3:4", r"^size = '1:2:3:4': expected low:high or low:high:scale$"),
        (SIZE, "1:200", r"^size = 200: expected int from 1 to 100$"),
        (SIZE, "9:3", r"^size = '9:3': expected low <= high$"),
        (SIZE, "1:9:logarithmic", r"^size: scale = 'logarithmic': expected one of"),
        (SIZE, [], r"^size = \[\]: expected 'off', a value, a list"),
        (SIZE, None, r"^size = None: expected 'off', a value, a list"),
        (SIZE, {"hihg": 3}, r"^size = 'hihg': expected one of .*did you mean 'high'\?"),
        (PADDING, "SAME,FULL", r"^padding = 'FULL': expected one of \('SAME', 'VALID'\)$"),
        (PADDING, {"low": 1, "high": 2}, r"^padding = '1:2': expected one of"),
        (BIAS, "yes", r"^bias = 'yes': expected one of \(True, False\)$"),
    ],
)
def test_a_customization_that_cannot_be_is_refused(parameter, spec, message):
    with pytest.raises(ParameterError, match=message):
        customized(parameter, spec)
