"""A module call compiled ahead of time, as the plain program and as a loop inside one program."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_PATTERN = 65_521  # a prime, so that rows of a filled array differ


class CompiledModule:
    """`module.apply(variables, *inputs)` with random values, ready to be timed.

    `inputs` are shapes and dtypes; variables come from `jax.eval_shape` and a random fill, so
    nothing is initialised. The plain program and the loop are compiled when first asked for.
    Raises ValueError where the first input has no element that a loop could depend on.
    """

    def __init__(
        self, module: nn.Module, inputs: tuple[jax.ShapeDtypeStruct, ...], seed: int = 0
    ) -> None:
        if not inputs or math.prod(inputs[0].shape) == 0:
            raise ValueError(
                f"inputs of {type(module).__name__} are {inputs}: expected a first input with at "
                "least one element"
            )
        self._output_shapes, shapes = jax.eval_shape(
            lambda *x: module.init_with_output(jax.random.key(0), *x), *inputs
        )
        rng = np.random.default_rng(seed)
        self.variables = random_variables(shapes, rng)
        self.inputs = random_inputs(inputs, rng, id_limit(shapes))
        self._apply: Callable[..., Any] = module.apply

    @cached_property
    def plain_program(self) -> jax.stages.Compiled:
        """`(variables, *inputs) -> outputs`."""
        return jax.jit(self._apply).lower(self.variables, *self.inputs).compile()

    @cached_property
    def loop_program(self) -> jax.stages.Compiled:
        """`(trips i32[], outputs, variables, *inputs) -> (first input, outputs)`, after `trips`."""
        loop = jax.jit(loop_of(self._apply))
        return loop.lower(np.int32(0), self._outputs, self.variables, *self.inputs).compile()

    @cached_property
    def _outputs(self) -> Any:
        shapes = self._output_shapes
        return jax.device_put(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes))

    @property
    def size_bytes(self) -> int:
        """Of variables, inputs and outputs."""
        leaves = jax.tree.leaves((self.variables, self.inputs, self._output_shapes))
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)

    def call(self) -> None:
        """Runs the plain program once and waits for it."""
        jax.block_until_ready(self.plain_program(self.variables, *self.inputs))

    def loop(self, trips: int) -> None:
        """Runs the module `trips` times, each after the one before, in one program."""
        jax.block_until_ready(
            self.loop_program(np.int32(trips), self._outputs, self.variables, *self.inputs)
        )


def sentinel_module() -> CompiledModule:
    """A product of matrices that keeps all cores busy for about a millisecond or less.

    Timed again and again, it shows how fast the machine is at a moment.
    """
    return CompiledModule(nn.Dense(512), (jax.ShapeDtypeStruct((64, 512), jnp.float32),))


def loop_of(apply: Callable[..., Any]) -> Callable[..., Any]:
    """The function `(trips, outputs, variables, *inputs)` that runs `apply` `trips` times.

    Each trip writes one element of its output, clipped, into the next trip's first input: no
    trip can be left out, and the cost is one element, not a pass over input or output. The
    barrier makes the weights look as if they changed as well; without it XLA moves what
    depends on them alone (conversions, transpositions) out of the loop. The outputs are
    carried, so that all of them are computed; their start is an argument because a program
    that fills them itself takes longer to compile.
    """

    def loop(
        trips: jax.Array, outputs: Any, variables: Any, *inputs: jax.Array
    ) -> tuple[jax.Array, Any]:
        first, *others = inputs

        def body(_: jax.Array, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            bits, _ = carry
            held = lax.optimization_barrier((variables, bits, others))
            outputs = apply(held[0], _from_bits(held[1], first.dtype), *held[2])
            return _nudged(bits, outputs, first.dtype), outputs

        bits, outputs = lax.fori_loop(0, trips, body, (_to_bits(first), outputs))
        return _from_bits(bits, first.dtype), outputs

    return loop


def _nudged(bits: jax.Array, outputs: Any, dtype: jnp.dtype) -> jax.Array:
    """The input whose first element follows from the first element of the output."""
    output = next(leaf for leaf in jax.tree.leaves(outputs) if leaf.size)
    element = lax.slice(output, (0,) * output.ndim, (1,) * output.ndim).reshape(())
    if jnp.issubdtype(dtype, jnp.floating):
        element = jnp.clip(element.astype(jnp.float32), -1, 1)  # stays finite over many trips
    else:
        element = element > 0  # 0 and 1 are token ids of every table
    element = _to_bits(element.astype(dtype))
    return lax.dynamic_update_slice(bits, element.reshape((1,) * bits.ndim), (0,) * bits.ndim)


def _to_bits(x: jax.Array) -> jax.Array:
    # XLA for CPUs widens half-width floats, and an update of one would rewrite the whole array.
    is_half = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 2
    return lax.bitcast_convert_type(x, jnp.uint16) if is_half else x


def _from_bits(bits: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return bits if bits.dtype == dtype else lax.bitcast_convert_type(bits, dtype)


def random_variables(shapes: Any, rng: np.random.Generator) -> Any:
    """Arrays for a tree of shapes: matrices of variance 1 / fan-in, variances in [0.5, 1.5)."""

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.device_put(np.zeros(leaf.shape, leaf.dtype))
        if _name(path) == "var":  # of a batch norm: its root is taken
            return _filled(leaf, rng.random(_PATTERN) + 0.5)
        fan_in = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 1
        return _filled(leaf, rng.uniform(-1, 1, _PATTERN) * math.sqrt(3 / max(fan_in, 1)))

    return jax.tree_util.tree_map_with_path(fill, shapes)


def random_inputs(
    inputs: tuple[jax.ShapeDtypeStruct, ...], rng: np.random.Generator, ids: int
) -> tuple[jax.Array, ...]:
    """Arrays for input shapes: normal numbers, token ids below `ids`, random booleans."""

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return _filled(leaf, rng.standard_normal(_PATTERN))
        high = 2 if leaf.dtype == jnp.bool_ else ids
        return jax.device_put(rng.integers(0, high, leaf.shape).astype(leaf.dtype))

    return tuple(fill(leaf) for leaf in inputs)


def id_limit(shapes: Any) -> int:
    """The number of token ids that every embedding table in a tree of shapes holds, else 2."""
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return min((s.shape[0] for path, s in leaves if _name(path) == "embedding"), default=2)


def _filled(leaf: jax.ShapeDtypeStruct, pattern: np.ndarray) -> jax.Array:
    return jax.device_put(np.resize(pattern.astype(leaf.dtype), leaf.shape))


def _name(path: tuple[Any, ...]) -> str:
    return str(getattr(path[-1], "key", "")) if path else ""
