"""What a prediction costs: operations of the integer kernel, counted, on a stated machine.

The operations are those of `packd_jax.export`'s header (tokens of the window, rows of the
tables, products of the layers), and the search for the best logits in place of its bitmap. All
follow from shapes: students of equal shape cost the same, whatever they have learnt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from packd_jax.config.checks import require
from packd_jax.quantize.integer_student import IntegerStudent


@dataclass(frozen=True)
class KernelMachine:
    """A small unit beside the cache that does one thing after another; nothing overlaps.

    The defaults are what 16 bytes a cycle can do: one port of 128 bits to the tables and
    weights, and as many multipliers of 8 bits as that port feeds.
    """

    lanes: int = 16  # 8-bit products a cycle, logits compared a cycle, bytes of a read
    token_cycles: int = 1  # a token of a delta, or a step of the search for a PC
    read_cycles: int = 1  # a row of a table, or as much of it as there are lanes
    layer_cycles: int = 6  # until a layer's last sum is done: 4 levels of adders, bias, rescaling

    def __post_init__(self) -> None:
        require(self.lanes >= 1, "kernel_machine.lanes", self.lanes, "at least 1")
        for name in ("token_cycles", "read_cycles", "layer_cycles"):
            value = getattr(self, name)
            require(value >= 0, f"kernel_machine.{name}", value, "0 or more")


class KernelCycles(NamedTuple):
    """Cycles from a load to its prefetches, by what they are spent on."""

    tokens: int
    reads: int
    layers: tuple[int, ...]  # the output is the last one
    choice: int

    @property
    def total(self) -> int:
        return self.tokens + self.reads + sum(self.layers) + self.choice


DEFAULT = KernelMachine()


def kernel_cycles(
    student: IntegerStudent, machine: KernelMachine = DEFAULT, degree: int = 2
) -> KernelCycles:
    """Cycles of one prediction with at most `degree` prefetches.

    - tokens: those of deltas, all of them where they are deltas to the current load, else one;
      one of a PC's own deltas; a binary search and a hash for the PC. Offsets are wires.
    - reads: a row for each token of the window, and the PC's own last deltas.
    - layers: rows of weights, filled up to whole vectors. A hidden layer's rows are those of its
      outputs, the output layer's those of its inputs, and half as long twice with 4-bit weights,
      whose two outputs a byte are multiplied one after the other.
    - choice: for each prefetch all logits are compared, and the filter is asked. Candidates that
      the filter turns down would cost as much again; how many depends on the program.
    """
    features, lanes = student.features, machine.lanes
    steps = {table.name: table.steps for table in student.tables}
    deltas = steps.get("delta", 0)
    encoded = deltas if features.delta_from == "current" else min(deltas, 1)
    encoded += 1 if "local" in steps else 0
    encoded += _search_steps(len(student.pc_vocabulary)) + 1
    reads = sum(t.steps * _whole(t.values.shape[1], lanes) for t in student.tables)
    reads += _whole(steps.get("local", 0), lanes)
    vectors = []
    for layer in student.layers[:-1]:
        inputs, outputs = layer.kernel.shape
        vectors.append(outputs * _whole(inputs, lanes))
    inputs, outputs = student.layers[-1].kernel.shape
    if student.weight_bits == 4:
        vectors.append(inputs * 2 * _whole(_whole(outputs, 2), lanes))
    else:
        vectors.append(inputs * _whole(outputs, lanes))
    return KernelCycles(
        tokens=encoded * machine.token_cycles,
        reads=reads * machine.read_cycles,
        layers=tuple(count + machine.layer_cycles for count in vectors),
        choice=degree * (_whole(student.label_bits, lanes) + machine.read_cycles),
    )


def _whole(count: int, size: int) -> int:
    """Groups of `size` that hold `count`."""
    return -(-count // size)


def _search_steps(entries: int) -> int:
    """Comparisons of the binary search in a sorted table, the last one for equality."""
    return (entries - 1).bit_length() + 1 if entries else 0
