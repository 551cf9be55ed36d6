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
_CHUNK = 256  # rows predicted at once: what they become stays in a core's own cache
_BLOCK = 64  # of them that waves are made of at once, for the same reason
_TURN = 2 * math.pi
_PER_TURN = np.float32(1 / _TURN)
_TURN_HIGH = np.float32(6.28125)  # eight bits long, so its products with whole numbers are exact
_TURN_LOW = np.float32(_TURN - 6.28125)
_WHOLE = np.float32(1.5 * 2**23)  # of that size numbers are whole: adding it rounds
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)
_S3, _S5, _S7, _S9, _S11 = (np.float32(1 / math.factorial(n)) for n in (3, 5, 7, 9, 11))
_C2, _C4, _C6, _C8, _C10 = (np.float32(1 / math.factorial(n)) for n in (2, 4, 6, 8, 10))

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
        _add_waves(inputs, self.frequencies, self.mix)
        adapter, *blocks, head = self.layers
        hidden = _silu(_dense(adapter, inputs))
        for up, down in zip(blocks[::2], blocks[1::2]):
            hidden += _dense(down, _silu(_dense(up, hidden)))
        return _dense(head, _silu(hidden))[0]

    def predict_one(self, x: np.ndarray) -> float:
        """The same of one row f32[F], compiled as a whole."""
        return _of_one(x, self.frequencies, self.mix, self.packed, self.lengths)


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


@njit(cache=True, fastmath={"contract"})
def _add_waves(inputs: np.ndarray, frequencies: np.ndarray, mix: np.ndarray) -> None:
    """Fills the last S * E rows of `inputs` with what its first S rows become, each a size."""
    sizes, width, waves = mix.shape
    count = waves // 2
    rows = inputs.shape[1]
    block = np.empty((waves, _BLOCK), np.float32)
    for start in range(0, rows, _BLOCK):
        length = min(_BLOCK, rows - start)
        target = len(inputs) - sizes * width
        for size in range(sizes):
            x = inputs[size, start : start + length]
            block[0, :length] = x
            for w in range(count):
                frequency, sines, cosines = frequencies[size, w], block[1 + w], block[1 + count + w]
                for n in range(length):
                    sines[n], cosines[n] = _sine_cosine(x[n] * frequency)
            for e in range(width):
                mixed = inputs[target, start : start + length]
                mixed[:] = np.float32(0)
                for w in range(waves):
                    weight, wave = mix[size, e, w], block[w]
                    for n in range(length):
                        mixed[n] += weight * wave[n]
                for n in range(length):
                    mixed[n] = max(mixed[n], np.float32(0))
                target += 1


@njit(cache=True, inline="always")
def _sine_cosine(angle: np.float32) -> tuple[np.float32, np.float32]:
    """Both at once, to a millionth, by what a processor does to eight numbers at a time.

    Less whole turns half of the angle is at most a quarter turn, where Taylor series are short.
    """
    turns = (angle * _PER_TURN + _WHOLE) - _WHOLE
    half = _HALF * ((angle - turns * _TURN_HIGH) - turns * _TURN_LOW)
    square = half * half
    sine = _S9 - square * _S11
    sine = half * (_ONE - square * (_S3 - square * (_S5 - square * (_S7 - square * sine))))
    cosine = _C8 - square * _C10
    cosine = _ONE - square * (_C2 - square * (_C4 - square * (_C6 - square * cosine)))
    return _TWO * sine * cosine, _ONE - _TWO * sine * sine


@njit(cache=True)
def _of_one(
    x: np.ndarray,
    frequencies: np.ndarray,
    mix: np.ndarray,
    packed: np.ndarray,
    lengths: np.ndarray,
) -> float:
    """What `_Member.predict` says of one row f32[F]."""
    sizes, width, waves = mix.shape
    inputs = np.empty(len(x) + sizes * width, np.float32)
    inputs[: len(x)] = x
    wave = np.empty(waves, np.float32)
    at = len(x)
    for size in range(sizes):
        wave[0] = x[size]
        for w in range(waves // 2):
            wave[1 + w], wave[1 + waves // 2 + w] = _sine_cosine(x[size] * frequencies[size, w])
        for e in range(width):
            inputs[at] = max(_dot(mix[size, e], 0, wave), np.float32(0))
            at += 1
    hidden = _sigmoid_weighted(_layer(packed, 0, inputs, lengths[0]))
    at = lengths[0] * (len(inputs) + 1)
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
