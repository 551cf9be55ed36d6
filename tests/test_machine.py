"""Machines that cannot be, and whether the default one agrees with the simulator it stands for."""

from dataclasses import replace
from pathlib import Path

import pytest

from packd_jax.config import ConfigError
from packd_jax.prefetch.baselines import BASELINES
from packd_jax.prefetch.machine import ML_DPC
from packd_jax.prefetch.oracle import oracle
from packd_jax.prefetch.simulator import simulate
from packd_jax.traces.read_trace import read_trace

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"

# Instructions per cycle, accuracy and coverage in %, by the ML-DPC ChampSim: 20 M instructions
# after 10 M of warm-up.
CHAMPSIM = {
    "bfs": {
        "none": (0.1956, 0, 0),
        "next_line": (0.3222, 62, 72),
        "best_offset": (0.3145, 58, 70),
        "stride": (0.2926, 65, 64),
        "oracle": (0.4080, 100, 100),
    },
    "sssp": {
        "none": (0.2197, 0, 0),
        "next_line": (0.2617, 30, 36),
        "best_offset": (0.2450, 39, 28),
        "stride": (0.2782, 70, 30),
        "oracle": (0.5211, 100, 94),
    },
}


@pytest.mark.skipif(not SHARED_TRACES.exists(), reason="needs ../shared/data/traces")
@pytest.mark.parametrize("program", list(CHAMPSIM))
def test_prefetchers_rank_as_in_champsim(program):
    trace = read_trace(SHARED_TRACES / f"champsim-{program}.txt.xz")
    ipc = {}
    for name, (_, accuracy, coverage) in CHAMPSIM[program].items():
        prefetcher = oracle(trace) if name == "oracle" else BASELINES[name]()
        outcome = simulate(trace, prefetcher, from_instr=10_000_000)
        ipc[name] = outcome.instructions / outcome.est_cycles
        assert 100 * outcome.accuracy == pytest.approx(accuracy, abs=10), name
        assert 100 * outcome.coverage == pytest.approx(coverage, abs=10), name
        assert ipc[name] == pytest.approx(CHAMPSIM[program][name][0], rel=0.2), name
    assert sorted(ipc, key=ipc.get) == sorted(ipc, key=lambda n: CHAMPSIM[program][n][0])


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("banks", 3, "machine.banks = 3: expected a power of two"),
        ("row_blocks", 0, "machine.row_blocks = 0: expected a power of two"),
        ("degree", 0, "machine.degree = 0: expected at least 1"),
        ("issue_width", 0, "machine.issue_width = 0: expected at least 1"),
        ("inference_cycles", -1, "machine.inference_cycles = -1: expected 0 or more"),
        ("inference_cycles", 10**9, "expected 1,000,000 at most"),
        ("row_hit_cycles", 200, "machine.row_hit_cycles = 200: expected 0 to row_miss_cycles"),
    ],
)
def test_machines_that_cannot_be_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        replace(ML_DPC, **{field: value})
