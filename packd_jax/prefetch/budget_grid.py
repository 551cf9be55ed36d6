"""The designs of a search with what each needs, known from shapes alone, and a draw among them.

So nothing is trained that cannot fit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from packd_jax.config import ConfigError, EntryConfig
from packd_jax.features import learn_pc_vocabulary
from packd_jax.models import InputSpec
from packd_jax.models.inputs import PAGE_BLOCKS
from packd_jax.prefetch.budget_config import BudgetConfig, Design
from packd_jax.prefetch.choose_policy import BACKLOGS
from packd_jax.prefetch.learned import storage_bits
from packd_jax.prefetch.policy import PolicyConfig
from packd_jax.quantize import IntegerStudent
from packd_jax.quantize.cost import DEFAULT, KernelMachine, kernel_cycles
from packd_jax.quantize.post_training import Scales, quantize_network
from packd_jax.quantize.token_network import TokenNetwork, token_steps


class Sized(NamedTuple):
    """A design with what it needs, known before it is trained."""

    design: Design
    bytes: int  # constants, look-back, filter, and the largest backlog that may be chosen
    cycles: int  # of a prediction


def sized(
    config: BudgetConfig, pcs: np.ndarray, degree: int, machine: KernelMachine = DEFAULT
) -> list[Sized]:
    """The whole grid with its sizes; `pcs` u64[N] are those of the training rows."""
    sizes = [pcs_kept for _, _, pcs_kept in config.vocabularies]
    vocabularies = {size: learn_pc_vocabulary([pcs], size) for size in sizes}
    found = []
    for design in config.designs():
        student = untrained(
            config.entry(design), design.weight_bits, vocabularies[design.vocabulary[2]]
        )
        policy = PolicyConfig(filter_blocks=design.filter_blocks, backlog=max(BACKLOGS))
        bits = storage_bits(student, policy)
        found.append(Sized(design, -(-bits // 8), kernel_cycles(student, machine, degree).total))
    return found


def draw(
    grid: Sequence[Sized], budgets: Sequence[int], budget_cycles: int, config: BudgetConfig
) -> list[Sized]:
    """The designs to train, by their inputs; `budget_cycles` 0 is no limit.

    What is drawn for a budget depends on it and the next smaller one alone. Raises ConfigError
    where nothing fits the smallest budget.
    """
    quick = [one for one in grid if not budget_cycles or one.cycles <= budget_cycles]
    if not quick:
        raise ConfigError(
            f"budget_cycles = {budget_cycles}: the quickest design takes"
            f" {min(one.cycles for one in grid)}; allow more, or narrow the widths"
        )
    below, drawn = 0, []
    for budget in sorted(set(budgets)):
        fitting = [one for one in quick if below < one.bytes <= budget]
        if not below and not fitting:
            raise ConfigError(
                f"budget_bytes = {budget}: the smallest design takes"
                f" {min(one.bytes for one in quick)}; allow more, or narrow the grid's widths"
            )
        order = np.random.default_rng([config.seed, budget]).permutation(len(fitting))
        drawn += [fitting[place] for place in order[: config.draws]]
        below = budget
    return sorted(drawn, key=lambda one: one.design.inputs)


def untrained(entry: EntryConfig, weight_bits: int, pc_vocabulary: np.ndarray) -> IntegerStudent:
    """A student of zeros, of the shapes and types that a trained one has."""
    features, student = entry.features, entry.student
    tables = {
        "delta": np.zeros((features.delta_vocabulary, student.delta_width)),
        "local": np.zeros((features.delta_vocabulary, student.delta_width)),
        "offset": np.zeros((PAGE_BLOCKS, student.offset_width)),
        "pc": np.zeros((features.pc_tokens, student.pc_width)),
    }
    steps = token_steps(InputSpec.of(features))
    tables = {name: table for name, table in tables.items() if name in steps}
    inputs = sum(steps[name] * table.shape[1] for name, table in tables.items())
    widths = [inputs, *[student.width] * student.depth, features.label_bits]
    kernels = [np.zeros(shape) for shape in itertools.pairwise(widths)]
    network = TokenNetwork(tables, kernels, [np.zeros(width) for width in widths[1:]])
    hidden = [np.ones(width) for width in widths[1:-1]]
    scales = Scales(
        {name: np.ones(table.shape[1]) for name, table in tables.items()},
        hidden,
        [*hidden, np.ones(1)],
    )
    return quantize_network(network, scales, steps, 0.0, weight_bits, features, pc_vocabulary)
