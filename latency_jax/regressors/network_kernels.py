"""Compiled loops of `regressors.network`: waves of many rows, and one row from end to end.

They do not look whether arrays go together: `Network` does, when it is made.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_BLOCK = 64  # rows that waves are made of at once: they stay in a core's own cache
_TURN = 2 * math.pi
_PER_TURN = np.float32(1 / _TURN)
_TURN_HIGH = np.float32(6.28125)  # eight bits long, so its products with whole numbers are exact
_TURN_LOW = np.float32(_TURN - 6.28125)
_WHOLE = np.float32(1.5 * 2**23)  # of that size numbers are whole: adding it rounds
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)
_S3, _S5, _S7, _S9, _S11 = (np.float32(1 / math.factorial(n)) for n in (3, 5, 7, 9, 11))
_C2, _C4, _C6, _C8, _C10 = (np.float32(1 / math.factorial(n)) for n in (2, 4, 6, 8, 10))


@njit(cache=True, fastmath={"contract"})
def add_waves(inputs: np.ndarray, frequencies: np.ndarray, mix: np.ndarray) -> None:
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
                    sines[n], cosines[n] = sine_cosine(x[n] * frequency)
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
def sine_cosine(angle: np.float32) -> tuple[np.float32, np.float32]:
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
def of_one(
    x: np.ndarray,
    frequencies: np.ndarray,
    mix: np.ndarray,
    packed: np.ndarray,
    lengths: np.ndarray,
) -> float:
    """What a network says of one row f32[F]; the arrays are those of a member of `Network`."""
    sizes, width, waves = mix.shape
    inputs = np.empty(len(x) + sizes * width, np.float32)
    inputs[: len(x)] = x
    wave = np.empty(waves, np.float32)
    at = len(x)
    for size in range(sizes):
        wave[0] = x[size]
        for w in range(waves // 2):
            wave[1 + w], wave[1 + waves // 2 + w] = sine_cosine(x[size] * frequencies[size, w])
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
