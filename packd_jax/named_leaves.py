"""A pytree as arrays with names like `params/Dense_0/kernel`, and back again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class LeafError(ValueError):
    """A leaf that is no array, or leaves that do not fit a structure; the message names them."""


class LeafDescription(NamedTuple):
    """One array of a tree, without its values; `path` is like `params/Dense_0/kernel`."""

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.size * jnp.dtype(self.dtype).itemsize

    @property
    def array_type(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def described_leaf(path: str, shape: Sequence[int], dtype: str) -> LeafDescription:
    """A description out of a file. Raises LeafError for what is no shape or no numeric dtype."""
    is_shape = all(type(length) is int and length >= 0 for length in shape)
    try:
        is_dtype = _is_numeric(jnp.dtype(dtype))
    except TypeError:
        is_dtype = False
    if not is_shape or not is_dtype:
        raise LeafError(f"leaf {path}: shape {shape!r}, dtype {dtype!r} describe no array")
    return LeafDescription(path, tuple(shape), dtype)


def is_global(array: Any) -> bool:
    """Whether an array has parts on devices of other processes."""
    return isinstance(array, jax.Array) and not array.is_fully_addressable


def host_arrays(tree: Any) -> dict[str, Any]:
    """The leaves of `tree` by path, as NumPy arrays; global ones stay on their devices.

    Raises LeafError for a leaf that is no array of numbers or booleans.
    """
    leaves = _leaves_by_path(tree)
    here = [leaf for leaf in leaves.values() if not is_global(leaf)]
    host = iter(jax.device_get(here))  # one wait for all transfers
    return {
        path: leaf
        if is_global(leaf)
        else np.asarray(next(host), dtype=leaf.dtype.newbyteorder("="))
        for path, leaf in leaves.items()
    }


def nested_dict(arrays: Mapping[str, np.ndarray]) -> Any:
    """`{"a/b": x}` as `{"a": {"b": x}}`; a tree that was a single array is that array."""
    if list(arrays) == [""]:
        return arrays[""]
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree


def in_structure_of(like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """`arrays` in the structure of `like`, a pytree of arrays or `jax.ShapeDtypeStruct`.

    Where `like` has a NumPy array the leaf stays one, else it becomes a JAX array with the
    sharding of `like`. Raises LeafError that names every missing and surplus leaf and every
    leaf of another shape or dtype.
    """
    wanted = {path: _describe(path, leaf) for path, leaf in _leaves_by_path(like).items()}
    given = {path: _describe(path, array) for path, array in arrays.items()}
    problems = []
    for path, leaf in wanted.items():
        if path not in given:
            problems.append(f"leaf {path} is missing; expected {leaf.array_type}")
        elif given[path] != leaf:
            problems.append(f"leaf {path} is {given[path].array_type}; expected {leaf.array_type}")
    for path in given.keys() - wanted.keys():
        problems.append(f"leaf {path}, {given[path].array_type}, is surplus")
    if problems:
        raise LeafError("does not fit the expected tree:\n  " + "\n  ".join(sorted(problems)))
    leaves, structure = jax.tree.flatten(like)
    placed = [_placed(leaf, arrays[path]) for path, leaf in zip(wanted, leaves)]
    return jax.tree.unflatten(structure, placed)


def _leaves_by_path(tree: Any) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        names = [jax.tree_util.keystr((key,), simple=True) for key in key_path]
        path = "/".join(names)
        if path in leaves or any("/" in name for name in names):
            raise LeafError(f"leaf {path}: expected distinct keys without '/'")
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            raise LeafError(f"leaf {path} is a {type(leaf).__name__}; expected an array")
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            raise LeafError(f"leaf {path} is a typed PRNG key; use jax.random.key_data(key)")
        if not _is_numeric(dtype):
            raise LeafError(f"leaf {path} is an array of {dtype}; expected numbers or booleans")
        leaves[path] = leaf
    return leaves


def _is_numeric(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.number) or dtype == np.bool_


def _describe(path: str, leaf: Any) -> LeafDescription:
    return LeafDescription(path, tuple(leaf.shape), np.dtype(leaf.dtype).name)


def _placed(like: Any, array: np.ndarray) -> Any:
    if isinstance(like, (np.ndarray, np.generic)):
        return array
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        return array  # JAX holds 64-bit numbers under jax_enable_x64 only
    return jax.device_put(array, getattr(like, "sharding", None))
