"""Collection: measures what the schedule says; can be stopped at any time and gone on with.

Without load, all rounds stream through one `measure_many`, so the windows of a module spread
over the time in which others are compiled. With load, a round is compiled first and then
measured beside the load that was drawn for it. Every tenth round is measured again later: how
far the two measurements agree bounds what any prediction can reach.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from latency_jax.collection.dataset_file import DatasetWriter
from latency_jax.collection.schedule import Job, has_load, measuring, rounds, threads_of
from latency_jax.config import CollectConfig
from latency_jax.environment import affinity, environment
from latency_jax.measuring.compile_ahead import compile_all
from latency_jax.measuring.compiled_module import CompiledModule, sentinel_module
from latency_jax.measuring.load import BackgroundLoad, Load
from latency_jax.measuring.measure import Measurement, measure_many
from latency_jax.parameters import ModuleConfig
from packd_jax.config import ConfigError, to_json_dict
from packd_jax.run_log import Progress, RunLog

AT_ONCE = 500  # measurements in one process: each leaves a megabyte or two that none frees
REPEAT_EVERY = 10  # rounds
Compiled = tuple[Job, CompiledModule]


class Collected(NamedTuple):
    """What a call of `collect` did."""

    is_finished: bool  # False where `at_most` ended it
    measurements: int
    seconds: float

    @property
    def rate(self) -> float:
        """Measurements a minute."""
        return 60 * self.measurements / max(self.seconds, 1e-9)


def collect(config: CollectConfig, directory: str | Path, at_most: float = math.inf) -> Collected:
    """Measures into `directory` until the time or the configurations are used up.

    What the directory holds counts: time that was spent, measurements that were made. A
    configuration that cannot be compiled or measured is recorded with its error. Stops early
    after about `at_most` measurements: each compiled program leaves some memory behind that
    only the end of a process frees. Raises ConfigError, DatasetError and LoadError.
    """
    threads, facts = threads_of(config), environment()
    if threads and threads != facts["threads"]:
        raise ConfigError(
            f"config.conditions.threads = {threads}: this process may use {facts['threads']} "
            f"cores; start it like `taskset -c 0-{threads - 1} python ...`"
        )
    header = {**to_json_dict(config), "measuring": asdict(measuring(config))}
    with DatasetWriter(directory, facts, header) as writer, RunLog(directory) as log:
        collection = _Collection(config, writer, at_most)
        budget_s = round(collection.budget_s)
        with log.stage("seconds of collection", budget_s, collection.progress) as show:
            is_finished = collection.run(show)
        return Collected(is_finished, collection.made, collection.seconds)


class _Collection:
    """The state of one call of `collect`."""

    def __init__(self, config: CollectConfig, writer: DatasetWriter, at_most: float) -> None:
        self.config, self.writer, self.at_most = config, writer, at_most
        self.sentinel = sentinel_module()
        self.budget_s = 60 * config.minutes
        self.start = time.monotonic()
        self.spent_before_s = max((row["spent_s"] for row in writer.rows), default=0.0)
        self.made = 0
        self.ended: dict[tuple[str, int, int], float] = {}  # Unix time, or inf for a failure
        for row in writer.rows:
            job = Job(row["number"], ModuleConfig.from_json(row["config"]), row["repeat"])
            self.ended[job.key] = math.inf if "error" in row else row["start_s"][-1]
        self.rounds = enumerate(rounds(config))
        self.repeats: deque[list[Job]] = deque()
        self.taken: dict[tuple[str, int, int], float] = {}
        self.held_s: deque[float] = deque([0.0], maxlen=64)  # how long the last ones took

    def run(self, show: Progress) -> bool:
        """Whether all is done that can be done in time."""
        how, order = measuring(self.config), np.random.default_rng(len(self.ended))
        on_gpu = jax.default_backend() != "cpu"
        while not self.is_time_up:
            if self.made >= self.at_most:
                return False
            jobs = self.next_round()
            if jobs is not None:
                for load, modules in self.stretches(jobs):
                    with BackgroundLoad(load, affinity(), on_gpu) as beside:
                        source = self.taking(modules)
                        for job, result in measure_many(
                            source, order, how, sentinel=self.sentinel, load=beside
                        ):
                            self.record(job, result)
                            rate = Collected(False, self.made, self.seconds).rate
                            show(self.progress, measured=f"{len(self.ended):,}", per_minute=rate)
            elif self.repeats:
                show(self.progress, waiting="until second measurements are due")
                time.sleep(min(1.0, self.budget_s / 100))
            else:
                return True
        return True

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start

    @property
    def spent_s(self) -> float:
        return self.spent_before_s + self.seconds

    @property
    def is_time_up(self) -> bool:
        """Whether what starts now would end too late; the last modules soon have few others."""
        oldest = next(iter(self.taken.values()), math.inf)
        held_s = max(*self.held_s, time.monotonic() - oldest)
        return self.spent_s + held_s / 2 >= self.budget_s

    @property
    def progress(self) -> int:
        """Seconds of the budget: spent, or the share of configurations of it, if that is more."""
        total = len(self.config.measured_kinds) * self.config.configurations
        done = sum(not repeat for _, _, repeat in self.ended) / total
        return round(min(max(self.spent_s, done * self.budget_s), self.budget_s))

    def next_round(self) -> list[Job] | None:
        """Second measurements that are due, else new configurations, else None."""
        while True:
            if self.repeats and self.is_due(self.repeats[0]):
                jobs = self.repeats.popleft()
            else:
                drawn = next(self.rounds, None)
                if drawn is None:
                    return None
                round_number, jobs = drawn
                if round_number % REPEAT_EVERY == 0:
                    self.repeats.append([job._replace(repeat=1) for job in jobs])
            jobs = [j for j in jobs if j.key not in self.ended and not self.has_failed(j)]
            if jobs:
                return jobs

    def is_due(self, jobs: list[Job]) -> bool:
        """Whether the first measurements of all have ended for long enough."""
        firsts = [job._replace(repeat=0) for job in jobs]
        if any(job.key not in self.ended for job in firsts):
            return False
        end = max((self.ended[j.key] for j in firsts if not self.has_failed(j)), default=0.0)
        after_s = min(60 * self.config.repeat_after_minutes, self.budget_s * 2 / 3)
        return end + after_s <= time.time()

    def has_failed(self, job: Job) -> bool:
        """Whether the first measurement has."""
        return self.ended.get(job._replace(repeat=0).key) == math.inf

    def stretches(self, jobs: list[Job]) -> Iterator[tuple[Load, Iterable[Compiled]]]:
        """Modules to be measured at one go, and the load beside it."""
        if not has_load(self.config):
            yield Load(), self.stream(jobs)
            return
        by_load = itertools.groupby(sorted(jobs, key=lambda job: job.load), lambda job: job.load)
        for load, same in by_load:
            yield load, list(self.compiled(list(same)))  # compiled before the load starts

    def stream(self, jobs: list[Job] | None) -> Iterator[Compiled]:
        taken = self.made
        while jobs is not None:
            yield from self.compiled(jobs)
            taken += len(jobs)
            is_last = self.is_time_up or taken >= self.at_most
            jobs = None if is_last else self.next_round()

    def compiled(self, jobs: list[Job]) -> Iterator[Compiled]:
        """The modules of a round, compiled while nothing is measured."""
        for job, module in zip(jobs, compile_all([job.config for job in jobs])):
            if isinstance(module, CompiledModule):
                yield job, module
            else:
                self.append(job, {"error": module}, math.inf)

    def taking(self, modules: Iterable[Compiled]) -> Iterator[Compiled]:
        for job, module in modules:
            self.taken[job.key] = time.monotonic()
            yield job, module

    def record(self, job: Job, result: Measurement) -> None:
        self.held_s.append(time.monotonic() - self.taken.pop(job.key))
        if result.latency_s > 0:
            row = _row(result)
            self.append(job, row, row["start_s"][-1])
        else:
            error = f"latency {result.latency_s} s: less than the noise of its measurement"
            self.append(job, {"error": error}, math.inf)

    def append(self, job: Job, row: dict[str, Any], end_s: float) -> None:
        about = {"number": job.number, "repeat": job.repeat, "config": job.config.to_json()}
        self.writer.append({**about, "spent_s": round(self.spent_s, 3), **row})
        self.ended[job.key] = end_s
        self.made += 1


def _row(result: Measurement) -> dict[str, Any]:
    """A measurement as JSON; repetitions are a list for each window."""
    first = np.flatnonzero(np.diff(result.window)) + 1
    to_unix_s = time.time() - time.perf_counter()
    return {
        "latency_s": result.latency_s,
        "interval_s": result.interval_s,
        "method": result.method,
        "trips": result.trips,
        "load": result.load,
        "start_s": [round(s + to_unix_s, 3) for s in result.time_s.tolist()],
        "sentinel_s": _short(result.sentinel_s),
        "overhead_s": _short(result.overhead_s),
        "repetitions_s": [_short(window) for window in np.split(result.repetitions_s, first)],
    }


def _short(seconds: np.ndarray) -> list[float]:
    return [float(f"{s:.6g}") for s in seconds.tolist()]
