"""Many configurations built and compiled at once, before any of them is measured."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from latency_jax.environment import affinity
from latency_jax.measuring.compiled_module import CompiledModule
from latency_jax.modules import get_kind
from latency_jax.parameters import ModuleConfig

_THREADS = 4  # more wait for the one that traces


class SmallModule(CompiledModule):
    """One that is timed by its loop, so that one program is compiled instead of two."""

    def call(self) -> None:
        self.loop(1)


def compile_all(configs: Sequence[ModuleConfig]) -> list[CompiledModule | str]:
    """Each module, compiled as it will most likely be timed and called once; or what failed."""
    with ThreadPoolExecutor(min(len(affinity()), _THREADS)) as pool:
        return list(pool.map(_compiled, configs))


def _compiled(config: ModuleConfig) -> CompiledModule | str:
    kind, values = get_kind(config.kind), config.values
    try:
        # Half a millisecond of work on two slow cores, and a few megabytes.
        is_small = replace(kind, max_bytes=8 * kind.max_bytes).is_valid(values, 1 / 60)
        module = (SmallModule if is_small else CompiledModule)(*kind.build(values))
        module.call()
        return module
    except Exception as error:  # whatever a kind or the compiler raises: the others can go on
        return f"{type(error).__name__}: {error}"[:2000]
