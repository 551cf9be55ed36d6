"""Traces of any length from the built-in workloads: kernel after kernel, graph after graph."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from packd_jax.config import ConfigError, WorkloadConfig
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.workloads import record_workload


def record_pieces(
    config: WorkloadConfig, kernels: Sequence[str], loads: int, threads: int = 0
) -> Iterator[LoadTrace]:
    """Consecutive pieces of one trace of `loads` loads.

    Each is a run of `config.instructions` instructions of the next of `kernels` (in turn), on a
    graph with a seed of its own (`config.seed` and so on), with caches that are cold at first.
    Instruction ids and cycles go on from piece to piece. Pieces are recorded ahead in `threads`
    threads (0: one a core), of which the trace does not depend; about two for each thread are held.
    Raises ConfigError for an unknown kernel, and for one whose run has no load.
    """
    if loads < 1 or not kernels:
        raise ConfigError(f"{loads} loads of kernels {tuple(kernels)}: expected 1 or more of each")
    runs = (
        dataclasses.replace(config, kernel=kernel, seed=config.seed + number)
        for number, kernel in enumerate(itertools.cycle(kernels))
    )
    for kernel in kernels:
        dataclasses.replace(config, kernel=kernel)  # an unknown one is told before any work
    instructions = cycles = rows = 0
    for run, piece in _recorded(runs, threads or os.cpu_count() or 1):
        if not piece.rows:
            raise ConfigError(
                f"{run.kernel} on a graph of scale {run.scale}: no load that reaches the LLC in"
                f" {run.instructions:,} instructions; expected some: a larger scale, or more"
            )
        piece = piece.take(slice(0, loads - rows))
        yield piece._replace(instr_id=piece.instr_id + instructions, cycle=piece.cycle + cycles)
        rows += piece.rows
        if rows == loads:
            return
        instructions, cycles = instructions + run.instructions, cycles + int(piece.cycle[-1]) + 1


def _recorded(
    runs: Iterator[WorkloadConfig], threads: int
) -> Iterator[tuple[WorkloadConfig, LoadTrace]]:
    """The runs with their traces, in order, recorded ahead."""
    ahead: deque[tuple[WorkloadConfig, Future[LoadTrace]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                while len(ahead) <= threads:
                    run = next(runs)
                    ahead.append((run, pool.submit(record_workload, run)))
                run, recorded = ahead.popleft()
                yield run, recorded.result()
        finally:
            for _, recorded in ahead:
                recorded.cancel()
