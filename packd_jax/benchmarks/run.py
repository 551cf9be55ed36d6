"""All measurements by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence

from packd_jax.benchmarks import (
    access_readers,
    devices,
    dispatch,
    export,
    pipeline,
    prefetching,
    streaming,
    training,
)
from packd_jax.benchmarks.scales import Scale
from packd_jax.benchmarks.timing import Line
from packd_jax.config import ConfigError

MEASUREMENTS: dict[str, Callable[[Scale, int], Iterator[Line]]] = {
    "workload": pipeline.workload,
    "read": pipeline.read,
    "access_readers": access_readers.access_readers,
    "features": pipeline.features,
    "encode_memory": pipeline.encode_memory,
    "encode_shards": streaming.encode_shards,
    "loader": streaming.loader,
    "distill_throughput": training.distill_throughput,
    "train_step": training.train_step,
    "stack": training.stack,
    "dispatch": dispatch.dispatch,
    "bfloat16": dispatch.bfloat16,
    "devices": devices.devices,
    "processes": devices.processes,
    "soft_targets": training.soft_targets,
    "simulator": prefetching.simulator,
    "export": export.export,
}


def run_benchmarks(names: Sequence[str], scale: Scale, repeats: int) -> Iterator[Line]:
    """The lines of the named measurements (none: of all), each as soon as it is there.

    Raises ConfigError for a name that there is not, before anything is measured.
    """
    for name in names:
        if name not in MEASUREMENTS:
            near = difflib.get_close_matches(name, MEASUREMENTS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(MEASUREMENTS)}"
            raise ConfigError(f"no measurement {name!r}; {hint}")
    chosen = [MEASUREMENTS[name] for name in dict.fromkeys(names or MEASUREMENTS)]
    return (line for measurement in chosen for line in measurement(scale, repeats))
