"""A student in integers: what it holds, what it computes bit for bit, and what it weighs.

    x = table[token], side by side                          i8[I]
    h = min((max(x K + b, 0) * m + 2^(s-1)) >> s, 255)      u8[O], for each hidden layer
    logits = h K + b                                        i32[D]

and a bit of the bitmap is set where its logit is at least the threshold. Weights are symmetric
int8 (int4 in the output if so wished), activations unsigned, and a real scale is an integer
multiplier and a shift (Jacob et al. 2018, arXiv 1712.05877). Scales of single inputs cost
nothing: they are folded into the rows of the next kernel. This is the definition; the C header
computes the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from packd_jax.config import FeatureConfig, to_json_dict

CHUNK = 8192  # rows at a time
TABLE_LIMIT = 127
ACTIVATION_LIMIT = 255
HIDDEN_BITS = 8  # of hidden kernels, which are few of the weights and cost more when coarse


class TokenTable(NamedTuple):
    """The embeddings of one kind of token."""

    name: str  # of the input array
    steps: int  # tokens of this kind in a window
    values: np.ndarray  # i8[V, E]


class Layer(NamedTuple):
    """A dense layer. Hidden ones end in `multiplier` and `shift`; the output has none."""

    kernel: np.ndarray  # i8[I, O]
    bias: np.ndarray  # i8, i16 or i32[O], in units of bias_factor
    bias_factor: int
    multiplier: np.ndarray  # u16[O]; output: u16[0]
    shift: int  # output: 0


@dataclass(frozen=True)
class IntegerStudent:
    """A quantised student with the encoder of its inputs.

    Raises ValueError for layers that do not fit each other, or whose sums may leave 32 bits.
    """

    tables: tuple[TokenTable, ...]  # in the order in which their embeddings lie side by side
    layers: tuple[Layer, ...]  # the last one is the output
    threshold: int  # in units of logit_scale
    logit_scale: float  # a logit of 1 here is so much there
    weight_bits: int  # 8 or 4: of the output kernel
    features: FeatureConfig
    pc_vocabulary: np.ndarray  # u64[V], sorted

    def __post_init__(self) -> None:
        limits = np.full(sum(t.steps * t.values.shape[1] for t in self.tables), TABLE_LIMIT)
        if self.weight_bits not in (8, 4):
            raise ValueError(f"weight_bits = {self.weight_bits}: expected 8 or 4")
        for number, layer in enumerate(self.layers):
            inputs, outputs = layer.kernel.shape
            hidden = number < len(self.layers) - 1
            if inputs != len(limits) or layer.bias.shape != (outputs,):
                raise ValueError(
                    f"layer {number}: kernel {layer.kernel.shape}, bias {layer.bias.shape};"
                    f" expected {len(limits)} inputs and a bias for each output"
                )
            if layer.multiplier.shape != (outputs if hidden else 0,):
                raise ValueError(f"layer {number}: multiplier {layer.multiplier.shape}")
            if not (1 <= layer.shift <= 47 if hidden else layer.shift == 0):
                raise ValueError(
                    f"layer {number}: shift {layer.shift}; expected 1 to 47, 0 at last"
                )
            bits = HIDDEN_BITS if hidden else self.weight_bits
            if np.abs(layer.kernel.astype(np.int64)).max(initial=0) > weight_limit(bits):
                raise ValueError(f"layer {number}: weights beyond {bits} bits")
            bias = np.abs(layer.bias.astype(np.int64)) * layer.bias_factor
            worst = limits @ np.abs(layer.kernel.astype(np.int64)) + bias
            if worst.max(initial=0) >= 2**31:
                raise ValueError(f"layer {number}: sums up to {worst.max()} leave 32 bits")
            limits = np.full(outputs, ACTIVATION_LIMIT)
        if not -(2**31) <= self.threshold < 2**31:
            raise ValueError(f"threshold {self.threshold}: expected 32 bits")

    @property
    def label_bits(self) -> int:
        """Logits D."""
        return len(self.layers[-1].bias)

    @property
    def multiply_adds(self) -> int:
        """Products of a prediction, those that rescale hidden units included."""
        return sum(layer.kernel.size + layer.multiplier.size for layer in self.layers)

    @property
    def parts_bytes(self) -> dict[str, int]:
        """What has to be stored, in bytes: every constant that the header's functions read."""
        output = packed_kernel(self.layers[-1].kernel, self.weight_bits)
        first_pc, other_pcs = pc_offsets(self.pc_vocabulary)
        hidden = sum(layer.kernel.nbytes for layer in self.layers[:-1])
        return {
            "embeddings": sum(table.values.nbytes for table in self.tables),
            "weights": hidden + output.nbytes,
            "biases": sum(layer.bias.nbytes + 1 for layer in self.layers),  # and its factor
            "scales": sum(layer.multiplier.nbytes + 1 for layer in self.layers[:-1]),
            "threshold": 4,
            "pc_vocabulary": first_pc.nbytes + other_pcs.nbytes,
        }

    @property
    def size_bytes(self) -> int:
        """All of `parts_bytes`."""
        return sum(self.parts_bytes.values())

    @property
    def digest(self) -> str:
        """SHA-256 of everything that it computes with."""
        digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
        for name, array in self.arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        arrays = {f"table_{number}": table.values for number, table in enumerate(self.tables)}
        for number, layer in enumerate(self.layers):
            arrays |= {
                f"kernel_{number}": layer.kernel,
                f"bias_{number}": layer.bias,
                f"multiplier_{number}": layer.multiplier,
            }
        return arrays | {"pc_vocabulary": self.pc_vocabulary}

    def describe(self) -> dict[str, Any]:
        """Everything but its arrays, as JSON values."""
        return {
            "tables": [[table.name, table.steps] for table in self.tables],
            "layers": [[layer.bias_factor, layer.shift] for layer in self.layers],
            "threshold": self.threshold,
            "logit_scale": self.logit_scale,
            "weight_bits": self.weight_bits,
            "features": to_json_dict(self.features),
        }

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
        """Logits of all windows, batch after batch: (rows, i32[rows, D]).

        `inputs` are u8 arrays `[N]` or `[N, steps]` by the names of the tables.
        """
        return self._outputs(inputs, self.layers)

    def hidden(self, inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
        """What the output layer is fed, batch after batch: (rows, u8[rows, I]); see `predict`."""
        return self._outputs(inputs, self.layers[:-1])

    def _outputs(
        self, inputs: Mapping[str, np.ndarray], layers: Sequence[Layer]
    ) -> Iterator[tuple[slice, np.ndarray]]:
        kernels = [layer.kernel.astype(np.float64) for layer in layers]
        biases = [layer.bias.astype(np.int64) * layer.bias_factor for layer in layers]
        rows = len(inputs[self.tables[0].name])
        for start in range(0, rows, CHUNK):
            part = slice(start, min(start + CHUNK, rows))
            embedded = [
                table.values[inputs[table.name][part].reshape(-1, table.steps)]
                for table in self.tables
            ]
            x = np.concatenate([e.reshape(len(e), -1) for e in embedded], axis=1)
            for layer, kernel, bias in zip(layers, kernels, biases):
                # Doubles hold these whole numbers exactly, and BLAS multiplies no integers.
                sums = (x.astype(np.float64) @ kernel).astype(np.int64) + bias[None]
                x = _requantize(sums, layer) if layer.shift else sums.astype(np.int32)
            yield part, x

    def logits(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits of all windows at once, i32[N, D]; see `predict`."""
        return np.concatenate([part for _, part in self.predict(inputs)])


def _requantize(sums: np.ndarray, layer: Layer) -> np.ndarray:
    """Sums i64[N, O] as activations u8[N, O]: ReLU, scale, round half up, saturate."""
    scaled = np.maximum(sums, 0) * layer.multiplier.astype(np.int64)[None]
    rounded = (scaled + (1 << (layer.shift - 1))) >> layer.shift
    return np.minimum(rounded, ACTIVATION_LIMIT).astype(np.uint8)


def weight_limit(bits: int) -> int:
    """The largest weight of so many bits; the smallest is its negative."""
    return 2 ** (bits - 1) - 1


def packed_kernel(kernel: np.ndarray, weight_bits: int) -> np.ndarray:
    """A kernel as it is stored: i8[I, O], or u8[I, ceil(O/2)] of two weights a byte.

    With 4 bits the low half of byte o is the weight of output o plus 8, the high half that of
    output o + ceil(O/2): so both halves are runs of outputs.
    """
    if weight_bits == 8:
        return kernel
    half = -(-kernel.shape[1] // 2)
    shifted = np.full((len(kernel), 2 * half), 8, np.uint8)
    shifted[:, : kernel.shape[1]] = kernel + 8
    return shifted[:, :half] | (shifted[:, half:] << 4)


def pc_offsets(vocabulary: np.ndarray) -> tuple[np.uint64, np.ndarray]:
    """The first PC of a sorted vocabulary u64[V], and all PCs from there on, as narrow as can be.

    Code lies close together: most programs' PCs need 2 or 4 bytes each, not 8.
    """
    if not len(vocabulary):
        return np.uint64(0), np.zeros(0, np.uint16)
    offsets = vocabulary - vocabulary[0]
    narrow = next(t for t in (np.uint16, np.uint32, np.uint64) if offsets[-1] <= np.iinfo(t).max)
    return vocabulary[0], offsets.astype(narrow)
