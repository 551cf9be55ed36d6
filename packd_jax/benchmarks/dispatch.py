"""An epoch as one program, as calls of some steps, and as a call a step; and in bfloat16.

The host's share is the time in which the host draws rows and starts programs, of all that an
epoch takes; on an accelerator the device works meanwhile, on a CPU both want the same cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from packd_jax import train
from packd_jax.advance import make_advance
from packd_jax.batching import RowOrder
from packd_jax.benchmarks.scales import Network, Scale, examples
from packd_jax.benchmarks.timing import Line, compare, make_line, take_turns
from packd_jax.benchmarks.training import plain_runs
from packd_jax.device_mesh import REPLICA, make_mesh, place, sharding
from packd_jax.features import Examples
from packd_jax.feeding import ResidentRows
from packd_jax.models import InputSpec, build_model
from packd_jax.train_step import init_state

EXECUTIONS = ("epoch", "scan", "loop")


def dispatch(scale: Scale, repeats: int) -> Iterator[Line]:
    """Epochs of each execution, in turn, against a call a step; what the host does of them."""
    for name, network in scale.students.items():
        data = examples(scale, network[0])
        host: dict[str, list[float]] = {execution: [] for execution in EXECUTIONS}
        calls = {
            execution: epoch_of(network, data, scale, execution, host[execution])
            for execution in EXECUTIONS
        }
        seconds = take_turns(calls, repeats)
        work = data.rows // scale.batch_size * scale.batch_size
        for execution in EXECUTIONS:
            title, own = f"dispatch {name}, {execution}", seconds[execution]
            if execution == "loop":
                yield make_line(title, "samples/s", work / own)
            else:
                yield compare(title, "samples/s", work, own, "loop", seconds["loop"])
            share = np.array(host[execution][-repeats:]) / own
            yield make_line(f"{title}, host", "share", share)


def bfloat16(scale: Scale, repeats: int) -> Iterator[Line]:
    """Epochs of steps that compute in bfloat16, in turn with float32."""
    for name, network in scale.students.items():
        data = examples(scale, network[0])
        calls = {
            dtype: epoch_of(network, data, scale, "epoch", [], dtype)
            for dtype in ("float32", "bfloat16")
        }
        seconds = take_turns(calls, repeats)
        work = data.rows // scale.batch_size * scale.batch_size
        own, other = seconds["bfloat16"], seconds["float32"]
        yield compare(f"bfloat16 {name}", "samples/s", work, own, "float32", other)


def epoch_of(
    network: Network,
    data: Examples,
    scale: Scale,
    execution: str,
    host_s: list[float],
    dtype: str = "float32",
) -> Callable[[], Any]:
    """A call that trains one more epoch and waits for it; adds the host's seconds to `host_s`."""
    model = build_model(network[1], InputSpec.of(network[0], dtype=dtype))
    runs, mesh = plain_runs(1), make_mesh(1, scale.batch_size)
    sample = {name: jnp.asarray(values[:1]) for name, values in data.inputs.items()}
    by_run = sharding(mesh, REPLICA)
    state, on_mesh = place((init_state(model, runs.seed, sample), runs), by_run)
    feed = ResidentRows(data, [RowOrder(range(data.rows), 0)], scale.batch_size, mesh)
    advance = make_advance(model, 1.0, 1.0, "constant", execution, mesh)
    total = data.rows // scale.batch_size
    chunk, done = total if execution == "epoch" else min(train.CHUNK, total), 0

    def epoch() -> Any:
        nonlocal state, done
        started, stop, loss = time.perf_counter(), done + total, None
        while done < stop:
            steps = min(chunk, stop - done)
            fed = feed.take(done, steps, chunk)
            options = None, fed.places, None, jnp.float32(1e6), jnp.float32(0), np.int32(steps)
            state, loss = advance(state, on_mesh, fed.data, *options)
            done += steps
        host_s.append(time.perf_counter() - started)
        return jax.block_until_ready((state, loss))

    return epoch
