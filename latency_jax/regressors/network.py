"""The networks of `latency_jax.medn`, predicted by NumPy, a single row by a compiled loop.

A jitted call costs more than a whole prediction does here. Features stand in rows and the rows of
a table in columns, so that every array is contiguous where its numbers are made. Of a single row,
calls of NumPy would cost more than its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from latency_jax.regressors.network_kernels import add_waves, of_one

ENCODER = "block"  # what names of an encoder's arrays begin with
_CHUNK = 256  # rows predicted at once: what they become stays in a core's own cache

Arrays = dict[str, np.ndarray]


class _Member(NamedTuple):
    """One network; kernels are transposed, and biases are columns."""

    frequencies: np.ndarray  # f32[S, W] of S sizes; S = 0 where there are no waves
    mix: np.ndarray  # f32[S, E, 1 + 2 W]
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # adapter, up, down, up, down, ..., head
    packed: np.ndarray  # f32[M], all numbers of the layers in their order
    lengths: np.ndarray  # i64[L], what each layer makes

    @property
    def waves(self) -> int:
        """How many numbers the waves of one row become."""
        return self.mix.shape[0] * self.mix.shape[1]

    @property
    def inputs(self) -> int:
        return self.layers[0][0].shape[1] - self.waves

    def predict(self, x: np.ndarray) -> np.ndarray:
        """f32[N] from x f32[N, F]."""
        inputs = np.empty((self.inputs + self.waves, len(x)), np.float32)
        inputs[: self.inputs] = x.T
        add_waves(inputs, self.frequencies, self.mix)
        adapter, *blocks, head = self.layers
        hidden = _silu(_dense(adapter, inputs))
        for up, down in zip(blocks[::2], blocks[1::2]):
            hidden += _dense(down, _silu(_dense(up, hidden)))
        return _dense(head, _silu(hidden))[0]

    def predict_one(self, x: np.ndarray) -> float:
        """The same of one row f32[F], compiled as a whole."""
        return of_one(x, self.frequencies, self.mix, self.packed, self.lengths)


class Network:
    """Members of one kind: x f64[N, F], standardised, to the mean of their outputs, f64[N].

    `own` and `encoder` hold f16 arrays with a leading axis of members, by their names in a MEDN:
    half the bytes, and predictions differ by less than 0.1 %. Raises ValueError for arrays that
    are no such network.
    """

    def __init__(self, own: Mapping[str, np.ndarray], encoder: Mapping[str, np.ndarray]) -> None:
        self.own, self.encoder = dict(own), dict(encoder)
        arrays = {**self.own, **self.encoder}
        for name, array in arrays.items():
            if array.dtype != np.float16 or not np.isfinite(array).all() or array.ndim < 1:
                raise ValueError(f"{name} is {array.dtype}{list(array.shape)}: expected finite f16")
        try:
            members = len(self.own["head_kernel"])
            names = _layer_names(-(-len(self.encoder) // 4))
            self._members = [_member(arrays, names, m) for m in range(members)]
            self.inputs = self._members[0].inputs
            for member in self._members:
                _check_lengths(member)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(f"not the arrays of a network: {error}") from error

    def predict(self, x: np.ndarray) -> np.ndarray:
        rows = len(x)
        if rows == 1:
            row = x[0].astype(np.float32)
            says = [member.predict_one(row) for member in self._members]
            return np.array([sum(says) / len(says)])
        result = np.empty(rows, np.float32)
        with np.errstate(over="ignore"):  # of exp in silu, where the quotient is 0 as it should
            for start in range(0, rows, _CHUNK):
                part = x[start : start + _CHUNK]
                outputs = [member.predict(part) for member in self._members]
                result[start : start + _CHUNK] = sum(outputs) / np.float32(len(outputs))
        return result.astype(np.float64)


def extracted(params: Mapping[str, np.ndarray], kind: int, inputs: int, sizes: int) -> Network:
    """The network of one kind out of all, from parameters f32[members, K or 1, ...].

    Of `inputs` features of the kind the first `sizes` have waves, if there are any.

    Heads that reconstruct inputs were there to learn by and are left out.
    """
    own: Arrays = {}
    encoder: Arrays = {}
    for name, value in params.items():
        group = np.asarray(value)[:, min(kind, value.shape[1] - 1)]
        if name in ("frequencies", "mix"):
            group = group[:, :sizes]
        elif name == "adapter_kernel":
            group = group[:, _adapted(params, inputs, sizes)]
        elif name.startswith("head"):
            group = group[..., :1]
        (encoder if name.startswith(ENCODER) else own)[name] = group.astype(np.float16)
    return Network(own, encoder)


def _adapted(params: Mapping[str, np.ndarray], inputs: int, sizes: int) -> np.ndarray:
    """Rows of the adapter's kernel that a kind uses: its features, then what its waves became."""
    if "mix" not in params:
        return np.arange(inputs)
    most, width = params["mix"].shape[2], params["mix"].shape[-1]
    first = params["adapter_kernel"].shape[2] - most * width
    return np.concatenate([np.arange(inputs), np.arange(first, first + sizes * width)])


def _layer_names(depth: int) -> list[str]:
    blocks = [f"{ENCODER}{block}_{part}" for block in range(depth) for part in ("up", "down")]
    return ["adapter", *blocks, "head"]


def _member(arrays: Mapping[str, np.ndarray], names: list[str], member: int) -> _Member:
    def transposed(name: str) -> np.ndarray:
        array = arrays[name][member].astype(np.float32)
        return np.ascontiguousarray(np.swapaxes(array, -1, -2))

    if "mix" in arrays:
        frequencies = arrays["frequencies"][member].astype(np.float32)
        mix = transposed("mix")
    else:
        frequencies, mix = np.zeros((0, 0), np.float32), np.zeros((0, 0, 1), np.float32)
    layers = [(transposed(f"{name}_kernel"), transposed(f"{name}_bias")) for name in names]
    numbers = [part.ravel() for pair in layers for part in pair]
    lengths = np.array([len(kernel) for kernel, _ in layers])
    return _Member(frequencies, mix, tuple(layers), np.concatenate(numbers), lengths)


def _check_lengths(member: _Member) -> None:
    """Raises ValueError unless layers follow each other: compiled loops do not look."""
    sizes, _, waves = member.mix.shape
    if member.frequencies.shape != (sizes, waves // 2) or waves % 2 == 0:
        raise ValueError(f"waves {member.frequencies.shape} and their mix {member.mix.shape}")
    if not sizes <= member.inputs:
        raise ValueError(f"waves of {sizes} sizes among {member.inputs} inputs")
    width, *raised = (len(kernel) for kernel, _ in member.layers)
    takes = [member.inputs + member.waves, *(width, *raised)[:-1]]
    for (kernel, bias), inputs in zip(member.layers, takes):
        if kernel.shape[1:] != (inputs,) or bias.shape != (len(kernel), 1):
            raise ValueError(f"a kernel {kernel.shape} of {inputs} inputs, and a bias {bias.shape}")
    if any(units != width for units in raised[1:-1:2]) or raised[-1] != 1:
        raise ValueError(f"layers make {[width, *raised]} numbers")


def _dense(layer: tuple[np.ndarray, np.ndarray], x: np.ndarray) -> np.ndarray:
    kernel, bias = layer
    result = kernel @ x
    result += bias
    return result


def _silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x), in a new array."""
    result = np.negative(x)
    np.exp(result, out=result)
    result += 1
    np.divide(x, result, out=result)
    return result
