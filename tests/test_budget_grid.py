"""Sizes before training, and the draw among what fits."""

import numpy as np
import pytest
import small_student

from packd_jax.config import ConfigError, EntryConfig
from packd_jax.prefetch.budget_config import SMOKE, BudgetConfig
from packd_jax.prefetch.budget_grid import Sized, draw, sized, untrained
from packd_jax.prefetch.learned import storage_bits
from packd_jax.prefetch.policy import PolicyConfig
from packd_jax.quantize import quantize_student
from packd_jax.quantize.cost import KernelMachine, kernel_cycles

PCS = np.arange(300, dtype=np.uint64) * np.uint64(4) + np.uint64(0x400000)


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize(
    "shape", [{}, {"depth": 2, "width": 5, "pc_width": 2}, {"local_deltas": 3, "look_back": 5}]
)
def test_a_trained_student_is_as_large_and_as_slow_as_an_untrained_one(shape, weight_bits):
    floats = small_student.float_student(**shape)
    integers, _ = quantize_student(floats, weight_bits=weight_bits)
    entry = EntryConfig(features=floats.features, student=floats.model)
    zeros = untrained(entry, weight_bits, floats.pc_vocabulary)
    assert zeros.parts_bytes == integers.parts_bytes
    assert kernel_cycles(zeros) == kernel_cycles(integers)
    assert [t.name for t in zeros.tables] == [t.name for t in integers.tables]
    policy = PolicyConfig(filter_blocks=64)
    assert storage_bits(zeros, policy) == storage_bits(integers, policy)


def test_sizes_count_everything():
    found = {one.design: one for one in sized(SMOKE, PCS, 2)}
    assert set(found) == set(SMOKE.designs())
    (plain,) = [
        one
        for design, one in found.items()
        if (design.embedding, design.width, design.weight_bits) == ((1, 1, 1), 2, 8)
    ]
    tables = (1 + 2 * (8 + 3)) + (4 + 8) + 64  # deltas, PCs and hash buckets, offsets
    weights = 7 * 2 + 2 * 16
    biases = 2 * 4 + 1 + 16 + 1
    scales = 2 * 2 + 1
    constants = tables + weights + biases + scales + 4 + 8 + 4 * 2  # threshold, first PC, offsets
    state = (3 * (42 + 8) + 8 * 2 * 64 + 8 * 42 + 7) // 8  # look-back, filter, backlog
    assert plain.bytes == constants + state
    assert plain.cycles == (3 + 4) + 7 + (2 + 6) + (2 + 6) + 2 * (1 + 1)


def test_more_lanes_are_quicker_and_no_larger():
    few, many = sized(SMOKE, PCS, 2, KernelMachine(lanes=2)), sized(SMOKE, PCS, 2)
    assert [one.bytes for one in few] == [one.bytes for one in many]
    assert all(a.cycles > b.cycles for a, b in zip(few, many))


GRID = [
    Sized(design, 100 + 7 * place, 50 + place)
    for place, design in zip(range(60), BudgetConfig().designs())
]


def test_every_budget_has_its_draws():
    config = BudgetConfig(draws=3)
    drawn = draw(GRID, (200, 300, 10_000), 0, config)
    sizes = np.array([one.bytes for one in drawn])
    assert np.histogram(sizes, [0, 201, 301, 10_001])[0].tolist() == [3, 3, 3]
    assert len(set(drawn)) == 9
    inputs = [one.design.inputs for one in drawn]
    assert inputs == sorted(inputs)


def test_what_a_budget_draws_does_not_depend_on_larger_ones():
    config = BudgetConfig(draws=3)
    assert set(draw(GRID, (200,), 0, config)) < set(draw(GRID, (500, 200), 0, config))
    assert draw(GRID, (200, 200), 0, config) == draw(GRID, (200,), 0, config)
    others = [draw(GRID, (500,), 0, BudgetConfig(draws=3, seed=seed)) for seed in range(3)]
    assert len(set(map(tuple, others))) == 3


def test_slow_designs_are_not_drawn():
    config = BudgetConfig(draws=100)
    drawn = draw(GRID, (500,), 60, config)
    assert set(drawn) == {one for one in GRID if one.cycles <= 60}


def test_budgets_that_nothing_fits():
    with pytest.raises(ConfigError, match="budget_bytes = 99: the smallest design takes 100"):
        draw(GRID, (99, 500), 0, BudgetConfig())
    with pytest.raises(ConfigError, match="budget_cycles = 49: the quickest design takes 50"):
        draw(GRID, (500,), 49, BudgetConfig())


def test_a_budget_that_allows_nothing_new_draws_nothing():
    everything = draw(GRID, (10_000,), 0, BudgetConfig(draws=99))
    assert draw(GRID, (10_000, 20_000), 0, BudgetConfig(draws=99)) == everything
    assert len(everything) == len(GRID)
