from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from packd_jax.named_leaves import (
    LeafDescription,
    LeafError,
    described_leaf,
    host_arrays,
    in_structure_of,
    nested_dict,
)


class Pair(NamedTuple):
    left: object
    right: object


def test_paths_name_fields_keys_and_positions():
    tree = {"a": Pair(np.ones(1), [np.zeros(2), None]), "b": np.int8(3)}
    arrays = host_arrays(tree)
    assert list(arrays) == ["a/left", "a/right/0", "b"]
    assert nested_dict(arrays)["a"]["right"]["0"].tolist() == [0, 0]
    assert nested_dict(host_arrays(np.arange(2))).tolist() == [0, 1]


def test_leaves_are_in_this_machines_byte_order():
    (array,) = host_arrays({"a": np.array([1, 2], ">u2")}).values()
    assert array.tobytes() == b"\x01\x00\x02\x00"


def test_leaves_go_where_like_has_them():
    like = Pair(np.zeros(2, np.int64), jax.ShapeDtypeStruct((2,), jnp.bfloat16))
    arrays = {"left": np.array([1, 2**40]), "right": np.array([1, 2], jnp.bfloat16)}
    tree = in_structure_of(like, arrays)
    assert type(tree) is Pair and isinstance(tree.left, np.ndarray) and tree.left[1] == 2**40
    assert isinstance(tree.right, jax.Array) and tree.right.dtype == jnp.bfloat16


def test_64_bit_leaves_are_never_cut_to_32():
    like = jax.ShapeDtypeStruct((1,), np.int64)
    assert in_structure_of(like, {"": np.array([2**40])})[0] == 2**40


def test_every_difference_is_named():
    like = {"a": np.zeros(2), "b": np.zeros(2), "same": np.zeros(1)}
    arrays = {"a": np.zeros(2, np.float32), "c": np.zeros((2, 1)), "same": np.zeros(1)}
    with pytest.raises(LeafError) as error:
        in_structure_of(like, arrays)
    assert str(error.value).splitlines()[1:] == [
        "  leaf a is float32[2]; expected float64[2]",
        "  leaf b is missing; expected float64[2]",
        "  leaf c, float64[2, 1], is surplus",
    ]


def test_ambiguous_names_are_refused():
    with pytest.raises(LeafError, match="leaf a/b: expected distinct keys without '/'"):
        host_arrays({"a/b": np.ones(1), "a": {"c": np.ones(1)}})


def test_descriptions_out_of_files_are_checked():
    assert described_leaf("a", [2, 3], "bfloat16") == LeafDescription("a", (2, 3), "bfloat16")
    for shape, dtype in (([-1], "int8"), ("ab", "int8"), ([2.0], "int8"), ([1], "O"), ([1], "x")):
        with pytest.raises(LeafError, match=r"leaf a: shape .* describe no array"):
            described_leaf("a", shape, dtype)
