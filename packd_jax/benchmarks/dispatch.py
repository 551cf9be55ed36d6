"""An epoch as one program, as calls of some steps, and as a call a step; and in bfloat16.

The host's share is the time in which the host draws rows and starts programs, of all that an
epoch takes; on an accelerator the device works meanwhile, on a CPU both want the same cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from packd_jax import train
from packd_jax.benchmarks.scales import Network, Scale, examples
from packd_jax.benchmarks.stacks import Stack, plain_runs
from packd_jax.benchmarks.timing import Line, compare, make_line, take_turns
from packd_jax.features import Examples
from packd_jax.models import InputSpec, build_model

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
    stack = Stack(model, data, plain_runs(1), scale.batch_size, execution)
    total = data.rows // scale.batch_size
    chunk, done = total if execution == "epoch" else min(train.CHUNK, total), 0

    def epoch() -> Any:
        nonlocal done
        started, stop, loss = time.perf_counter(), done + total, None
        while done < stop:
            steps = min(chunk, stop - done)
            loss = stack.advance(stack.feed.take(done, steps, chunk), steps)
            done += steps
        host_s.append(time.perf_counter() - started)
        return jax.block_until_ready((stack.state, loss))

    return epoch
