"""Models, inputs and conditions as a command line names them."""

import sys

import flax.linen as nn
import hypothesis
import jax
import jax.numpy as jnp
import pytest
from hypothesis import strategies as st

from latency_jax.whole_model.named_model import (
    format_input,
    make_model,
    parse_conditions,
    parse_input,
    parse_inputs,
)
from packd_jax.config import ConfigError

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "bool")


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.integers(1, 10_000), min_size=1, max_size=5), st.sampled_from(DTYPES))
def test_inputs_come_back(shape, dtype):
    array = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    assert parse_input(format_input(array)) == array


def test_without_a_dtype_an_input_is_float32():
    assert parse_inputs(["2,3", "1:int32"]) == (
        jax.ShapeDtypeStruct((2, 3), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )


@pytest.mark.parametrize(
    "text", ["", "x", "1,,2", "1,0:float32", "-1", "1:", "1:float33", "1:object", "1:U3", "1:V8"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ConfigError, match="expected lengths and a dtype"):
        parse_input(text)


@hypothesis.settings(deadline=None)
@hypothesis.given(st.text(max_size=20))
def test_any_text_is_an_input_or_is_refused(text):
    try:
        assert min(parse_input(text).shape) >= 1
    except ConfigError as error:
        assert repr(text) in str(error)


def test_no_input_is_refused():
    with pytest.raises(ConfigError, match="no --input given"):
        parse_inputs([])


def test_conditions_have_the_type_of_what_they_are():
    assert parse_conditions(["cpu_utilization=0.5", "threads=2"]) == {
        "cpu_utilization": 0.5,
        "threads": 2,
    }


@pytest.mark.parametrize(
    "text", ["cpu=1", "cpu_utilization", "cpu_utilization=x", "cpu_utilization=2", "batch_size=4"]
)
def test_other_conditions_are_refused(text):
    with pytest.raises(ConfigError, match="condition"):
        parse_conditions([text])


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    def write(text):
        (tmp_path / "own_models.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_models", raising=False)

    return write


def test_a_factory_is_called_and_a_module_is_taken_as_it_is(own_module):
    own_module("import flax.linen as nn\ndef make(): return nn.Dense(3)\nready = nn.Dense(4)\n")
    assert make_model("own_models:make") == nn.Dense(3)
    assert make_model("own_models:ready").features == 4


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_models", "expected package.module:factory"),
        ("absent_package.models:make", "no module 'absent_package'"),
        ("own_models:absent", "has no 'absent'"),
        ("own_models:number", "gave a int"),
    ],
)
def test_other_names_are_refused(own_module, name, told):
    own_module("number = lambda: 3\n")
    with pytest.raises(ConfigError, match=told):
        make_model(name)


def test_what_a_users_own_module_misses_is_for_the_user_to_see(own_module):
    own_module("import absent_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="absent_dependency"):
        make_model("own_models:make")
