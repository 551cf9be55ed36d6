"""Cycles of a prediction, against counts by hand."""

import dataclasses

import pytest
import small_student

from packd_jax.config import ConfigError
from packd_jax.quantize import quantize_student
from packd_jax.quantize.cost import DEFAULT, KernelCycles, KernelMachine, kernel_cycles

# The small study: 3 loads of delta (2 wide) and PC (1), the offset (2): 11 inputs. 16 logits.
# Its trace has 4 PCs: 2 halvings, 1 comparison for equality and 1 hash.


def cycles(weight_bits=8, degree=2, machine=DEFAULT, **student):
    integers, _ = quantize_student(small_student.float_student(**student), weight_bits=weight_bits)
    return kernel_cycles(integers, machine, degree)


@pytest.mark.parametrize(
    "given, counted",
    {
        "usual": ({}, KernelCycles(3 + 4, 3 + 3 + 1, (3 + 6, 3 + 6), 2 * (1 + 1))),
        "one prefetch": ({"degree": 1}, KernelCycles(7, 7, (9, 9), 2)),
        "wide": ({"width": 20}, KernelCycles(7, 7, (20 + 6, 20 + 6), 4)),
        "deep": ({"width": 20, "depth": 2}, KernelCycles(7, 7, (26, 20 * 2 + 6, 26), 4)),
        # Two runs of 8 logits, each in a vector of its own.
        "4 bits": ({"weight_bits": 4}, KernelCycles(7, 7, (9, 3 * 2 + 6), 4)),
        "deltas in turn": ({"delta_from": "previous"}, KernelCycles(1 + 4, 7, (9, 9), 4)),
        "deltas of the PC": (
            {"local_deltas": 2},  # 15 inputs; 2 more rows, and the PC's own
            KernelCycles(3 + 1 + 4, 7 + 2 + 1, (9, 9), 4),
        ),
        "no PCs": ({"pc_vocabulary": 0}, KernelCycles(3 + 1, 7, (9, 9), 4)),
        "one PC": ({"pc_vocabulary": 1}, KernelCycles(3 + 1 + 1, 7, (9, 9), 4)),
        "4 lanes": (
            {"machine": KernelMachine(lanes=4), "pc_width": 6},  # 26 inputs; PCs are 2 reads each
            KernelCycles(7, 3 + 3 * 2 + 1, (3 * 7 + 6, 3 * 4 + 6), 2 * (4 + 1)),
        ),
        "another machine": (
            {"machine": KernelMachine(token_cycles=3, read_cycles=2, layer_cycles=0)},
            KernelCycles(3 * 7, 2 * 7, (3, 3), 2 * (1 + 2)),
        ),
    }.values(),
)
def test_counts_by_hand(given, counted):
    found = cycles(**given)
    assert found == counted
    assert found.total == counted.tokens + counted.reads + sum(counted.layers) + counted.choice


def test_what_was_learnt_costs_nothing():
    assert cycles(seed=0) == cycles(seed=1)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(KernelMachine)])
def test_machines_that_cannot_be(field):
    with pytest.raises(ConfigError, match=f"kernel_machine.{field} = -1"):
        KernelMachine(**{field: -1})
