"""Pieces of the built-in workloads make one trace: repeatable, ids and cycles going on."""

import itertools

import numpy as np
import pytest

from packd_jax.config import CacheConfig, CacheLevelConfig, ConfigError, WorkloadConfig
from packd_jax.traces.gather import gather
from packd_jax.traces.long_workload import record_pieces
from packd_jax.traces.workloads import record_workload

LEVEL = CacheLevelConfig(4096, 1)
SMALL = WorkloadConfig(
    scale=8, degree=4, instructions=20_000, cache=CacheConfig(LEVEL, LEVEL, LEVEL)
)


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_are_runs_of_the_kernels_in_turn(threads):
    pieces = list(record_pieces(SMALL, ["pr", "cc"], 12_000, threads))
    whole, before = gather(pieces), 0
    assert whole.rows == 12_000 and len(pieces) > 3
    assert (np.diff(whole.instr_id) > 0).all() and (np.diff(whole.cycle) >= 0).all()
    for number, piece in enumerate(pieces):
        kernel = ("pr", "cc")[number % 2]
        config = WorkloadConfig(
            kernel, scale=8, degree=4, seed=1 + number, instructions=20_000, cache=SMALL.cache
        )
        alone = record_workload(config)
        rows = piece.rows
        assert rows == alone.rows or number == len(pieces) - 1
        np.testing.assert_array_equal(piece.address, alone.address[:rows])
        np.testing.assert_array_equal(piece.pc, alone.pc[:rows])
        np.testing.assert_array_equal(piece.instr_id, alone.instr_id[:rows] + number * 20_000)
        np.testing.assert_array_equal(piece.cycle - before, alone.cycle[:rows])
        before = int(piece.cycle[-1]) + 1


def test_who_takes_a_few_pieces_need_not_take_all():
    first = next(record_pieces(SMALL, ["bfs"], 10**9, 2))
    again = next(itertools.islice(record_pieces(SMALL, ["bfs"], 10**9, 1), 1))
    np.testing.assert_array_equal(first.address, again.address)


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(ConfigError, match="kernel = 'dfs': expected one of"):
        next(record_pieces(SMALL, ["pr", "dfs"], 10))
    with pytest.raises(ConfigError, match="0 loads"):
        next(record_pieces(SMALL, ["pr"], 0))
    with pytest.raises(ConfigError, match="no load that reaches the LLC in 1 instr"):
        list(record_pieces(WorkloadConfig(scale=4, degree=1, instructions=1), ["pr"], 10))
