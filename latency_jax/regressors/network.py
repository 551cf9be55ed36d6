"""The networks of `latency_jax.medn`, predicted by NumPy, a single row by a compiled loop.

A jitted call costs more than a whole prediction does here. Features stand in rows and the rows of
a table in columns, so that every array is contiguous where its numbers are made. Of a single row,
calls of NumPy would cost more than its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numba import njit

ENCODER = "block"  # what names of an encoder's arrays begin with
_CHUNK = 512  # rows predicted at once: what they become stays in a core's own cache

Arrays = dict[str, np.ndarray]


class _Member(NamedTuple):
    """One network; kernels are transposed, and biases are columns."""

    frequencies: np.ndarray  # f32[S, W, 1] of S sizes; S = 0 where there are no waves
    mix: np.ndarray  # f32[S, E, 1 + 2 W]
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # adapter, up, down, up, down, ..., head
    packed: np.ndarray  # f32[M], all of these numbers in their order
    lengths: np.ndarray  # i64[L], what each layer makes

    def predict(self, x: np.ndarray) -> np.ndarray:
        """f32[N] from x f32[F, N]."""
        if self.mix.size:
            x = np.concatenate([x, self._embedded(x[: len(self.mix)])])
        adapter, *blocks, head = self.layers
        hidden = _silu(_dense(adapter, x))
        for up, down in zip(blocks[::2], blocks[1::2]):
            hidden += _dense(down, _silu(_dense(up, hidden)))
        return _dense(head, _silu(hidden))[0]

    def _embedded(self, x: np.ndarray) -> np.ndarray:
        sizes, count, _ = self.frequencies.shape
        waves = np.empty((sizes, 1 + 2 * count, x.shape[1]), np.float32)
        waves[:, 0] = x
        angles = waves[:, 1 : 1 + count]
        np.multiply(x[:, None], self.frequencies, out=angles)
        np.cos(angles, out=waves[:, 1 + count :])
        np.sin(angles, out=angles)
        embedded = np.matmul(self.mix, waves)
        np.maximum(embedded, 0, out=embedded)
        return embedded.reshape(-1, x.shape[1])


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
            self.inputs = _inputs(self._members[0])
            self._members[-1].predict(np.zeros((self.inputs, 1), np.float32))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(f"not the arrays of a network: {error}") from error

    def predict(self, x: np.ndarray) -> np.ndarray:
        rows = len(x)
        if rows == 1:
            row = x[0].astype(np.float32)
            says = [_of_one(row, m.packed, m.mix.shape, m.lengths) for m in self._members]
            return np.array([sum(says) / len(says)])
        features = np.ascontiguousarray(x.T, np.float32)
        result = np.empty(rows, np.float32)
        with np.errstate(over="ignore"):  # of exp in silu, where the quotient is 0 as it should
            for start in range(0, rows, _CHUNK):
                part = features[:, start : start + _CHUNK]
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
        frequencies = arrays["frequencies"][member].astype(np.float32)[..., None]
        mix = transposed("mix")
    else:
        frequencies, mix = np.zeros((0, 0, 1), np.float32), np.zeros((0, 0, 1), np.float32)
    layers = [(transposed(f"{name}_kernel"), transposed(f"{name}_bias")) for name in names]
    numbers = [a.ravel() for a in (frequencies, mix, *(part for pair in layers for part in pair))]
    lengths = np.array([len(kernel) for kernel, _ in layers])
    return _Member(frequencies, mix, tuple(layers), np.concatenate(numbers), lengths)


@njit(cache=True)
def _of_one(
    x: np.ndarray, packed: np.ndarray, mix: tuple[int, int, int], lengths: np.ndarray
) -> float:
    """What `_Member.predict` says of one row f32[F]; `mix` is the shape of the member's."""
    sizes, width, waves = mix
    count = waves // 2
    hidden = np.empty(len(x) + sizes * width, np.float32)
    hidden[: len(x)] = x
    wave = np.empty(waves, np.float32)
    at = sizes * count
    for s in range(sizes):
        wave[0] = x[s]
        for w in range(count):
            angle = x[s] * packed[s * count + w]
            wave[1 + w] = math.sin(angle)
            wave[1 + count + w] = math.cos(angle)
        for e in range(width):
            hidden[len(x) + s * width + e] = max(_dot(packed, at, wave), np.float32(0))
            at += waves
    hidden = _sigmoid_weighted(_layer(packed, at, hidden, lengths[0]))
    at += lengths[0] * (len(x) + sizes * width + 1)
    for up in range(1, len(lengths) - 1, 2):
        raised = _sigmoid_weighted(_layer(packed, at, hidden, lengths[up]))
        at += lengths[up] * (len(hidden) + 1)
        hidden += _layer(packed, at, raised, lengths[up + 1])
        at += lengths[up + 1] * (len(raised) + 1)
    return _layer(packed, at, _sigmoid_weighted(hidden), lengths[-1])[0]


@njit(cache=True)
def _layer(packed: np.ndarray, at: int, x: np.ndarray, length: int) -> np.ndarray:
    """f32[length] of x f32[I]: a kernel [length, I] and a bias lie from `at` on."""
    result = np.empty(length, np.float32)
    for row in range(length):
        bias = packed[at + length * len(x) + row]
        result[row] = _dot(packed, at + row * len(x), x) + bias
    return result


@njit(cache=True, fastmath={"reassoc", "contract"})  # several numbers at a time
def _dot(packed: np.ndarray, at: int, x: np.ndarray) -> np.float32:
    total = np.float32(0)
    for i in range(len(x)):
        total += packed[at + i] * x[i]
    return total


@njit(cache=True)
def _sigmoid_weighted(x: np.ndarray) -> np.ndarray:
    """`_silu`, in place."""
    for i in range(len(x)):
        x[i] = x[i] / (np.float32(1) + math.exp(-x[i]))
    return x


def _inputs(member: _Member) -> int:
    sizes, width, _ = member.mix.shape
    return member.layers[0][0].shape[1] - sizes * width


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
