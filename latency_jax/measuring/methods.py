"""Whether the two ways to time a module agree where both can: on modules that take milliseconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from latency_jax.measuring.compile_ahead import compile_all
from latency_jax.measuring.compiled_module import CompiledModule
from latency_jax.measuring.measure import measure_many
from latency_jax.measuring.timing import MeasureConfig
from latency_jax.parameters import ModuleConfig


class Methods(NamedTuple):
    """One module, timed both ways."""

    config: ModuleConfig
    wall_s: float  # a call that is waited for
    device_s: float  # the slope between two trip counts of a loop

    @property
    def ratio(self) -> float:
        return self.device_s / self.wall_s


def compare_methods(
    configs: Sequence[ModuleConfig], config: MeasureConfig, passes: int = 3
) -> Iterator[Methods]:
    """Times each module both ways, in turn, `passes` times, and keeps the least of each.

    Raises RuntimeError for a configuration that cannot be compiled.
    """
    ways = {"wall": replace(config, device_below_s=0.0)}
    ways["device"] = replace(config, device_below_s=math.inf)
    for module_config, module in zip(configs, compile_all(configs)):
        if not isinstance(module, CompiledModule):
            raise RuntimeError(f"{module_config}: {module}")
        found: dict[str, list[float]] = {"wall": [], "device": []}
        for number in range(passes):
            for way, how in ways.items():
                order = np.random.default_rng(number)
                ((_, result),) = measure_many([(None, module)], order, how)
                assert result.method == way
                found[way].append(result.latency_s)
        yield Methods(module_config, min(found["wall"]), min(found["device"]))


def as_markdown(rows: Sequence[Methods]) -> str:
    """A table, and quartiles of the ratios."""
    lines = ["| kind | wall ms | device ms | device / wall |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.config.kind} | {1e3 * row.wall_s:.3g} | {1e3 * row.device_s:.3g} | "
        f"{row.ratio:.3f} |"
        for row in rows
    ]
    low, middle, high = np.quantile([row.ratio for row in rows], [0.25, 0.5, 0.75])
    lines.append(f"| median (quartiles) | | | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    return "\n".join(lines)
