"""One process of background load: `python -m latency_jax.measuring.load_worker --help`.

The standard input is a pipe that only the parent holds open: however the parent ends, the pipe
ends with it, and so does the worker.
"""

from __future__ import annotations

import argparse
import mmap
import os
import select
import sys
import time
from collections.abc import Callable

import numpy as np

PERIOD_S = 0.01
KINDS = ("compute", "memory", "gpu_compute", "gpu_memory")
_MEMORY_BYTES = 64 << 20  # each of two buffers, more than a core's share of the last cache
_CHUNK_BYTES = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--share", type=float, required=True, help="busy share of each period")
    parser.add_argument("--core", type=int, help="the core to run on; default: any")
    parser.add_argument("--meter", type=int, required=True, help="descriptor of 8 bytes to fill")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    # An aligned float is written at once; struct.pack_into would show a zero in between.
    meter = np.frombuffer(mmap.mmap(options.meter, 8), np.float64)
    step, busy = _STEPS[options.kind]()
    step()
    print("ready", flush=True)
    start = busy()
    period_end = time.monotonic()
    while not _parent_is_gone(period_end - time.monotonic()):
        # A period that came too late is not made up for: load would come in bursts.
        period_start = max(period_end, time.monotonic() - PERIOD_S)
        period_end = period_start + PERIOD_S
        while time.monotonic() < period_start + PERIOD_S * options.share:
            step()
            meter[0] = busy() - start


def _parent_is_gone(wait_s: float) -> bool:
    """Sleeps for `wait_s`; the parent writes nothing, so the pipe is readable at its end only."""
    return bool(select.select([sys.stdin], [], [], max(wait_s, 0.0))[0])


Step = tuple[Callable[[], object], Callable[[], float]]  # some 50 us of work, busy seconds so far


def _compute() -> Step:
    a = np.full((64, 64), 0.01, np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out), time.process_time


def _memory() -> Step:
    chunks = np.zeros((2, _MEMORY_BYTES // _CHUNK_BYTES, _CHUNK_BYTES), np.uint8)
    chunks[:] = 1  # pages that were never written share one page of zeros
    position = 0

    def step() -> None:
        nonlocal position
        np.copyto(chunks[1, position], chunks[0, position])
        position = (position + 1) % chunks.shape[1]

    return step, time.process_time


def _gpu_compute() -> Step:
    import jax
    import jax.numpy as jnp

    x = jnp.full((4096, 4096), 1e-4, jnp.bfloat16)
    return _gpu_step(jax.jit(lambda x: x @ x), x)


def _gpu_memory() -> Step:
    import jax
    import jax.numpy as jnp

    x = jnp.ones((64 << 20,), jnp.float32)
    return _gpu_step(jax.jit(lambda x: x + 1), x)


def _gpu_step(program: Callable, x: object) -> Step:
    busy = 0.0

    def step() -> None:
        nonlocal busy
        start = time.monotonic()
        program(x).block_until_ready()
        busy += time.monotonic() - start

    return step, lambda: busy


_STEPS = {
    "compute": _compute,
    "memory": _memory,
    "gpu_compute": _gpu_compute,
    "gpu_memory": _gpu_memory,
}

if __name__ == "__main__":
    main()
