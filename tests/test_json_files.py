import json
import os

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packd_jax.json_files import plain_json, write_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t, max_size=3),
)


@given(plain)
def test_plain_values_stay_as_they_are(value):
    assert plain_json(value) == value
    assert json.loads(json.dumps(plain_json(value))) == value


def test_numpy_jax_and_config_values_become_plain():
    value = {
        1: np.float64(0.1),
        "array": np.array([[1, 2], [3, 4]], np.uint8),
        "jax": jnp.arange(2.0),
        "flag": np.bool_(True),
        "config": ml_collections.ConfigDict({"k": (1, 2)}),
    }
    assert plain_json(value) == {
        "1": 0.1,
        "array": [[1, 2], [3, 4]],
        "jax": [0.0, 1.0],
        "flag": True,
        "config": {"k": [1, 2]},
    }


def test_strict_json_has_null_for_what_is_not_finite():
    assert plain_json([np.nan, -np.inf, np.array([1, np.inf])], finite=True) == [
        None,
        None,
        [1, None],
    ]
    assert np.isnan(plain_json(np.nan))


def test_other_values_are_named():
    with pytest.raises(TypeError, match=r"config\.a\[1\]\.b is a set; expected a mapping, list"):
        plain_json({"a": [0, {"b": {1}}]}, "config")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"a": np.float32(0.5), "b": np.nan})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None}
    with pytest.raises(TypeError, match=r"value\.a is a object"):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None}
    write_json(path, [1])
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["config.json"]
