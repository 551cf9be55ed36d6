"""Steps of one student on so many devices or processes, in processes that do nothing else.

python -m packd_jax.benchmarks.device_steps NETWORK DEVICES BATCH STEPS [PROCESSES INDEX PORT]

The first process prints one line of JSON: samples a second, bytes that the loopback interface
carried a step (of all traffic there; null without /proc/net/dev), and bytes of the gradients.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def loopback_bytes() -> float:
    """Bytes that the loopback interface has sent so far; NaN where that is not told."""
    table = Path("/proc/net/dev")
    lines = table.read_text().splitlines() if table.exists() else []
    own = next((line for line in lines if line.strip().startswith("lo:")), None)
    return float("nan") if own is None else float(own.partition(":")[2].split()[8])


def main(network: str, batch_size: int, steps: int, group: list[int]) -> None:
    import numpy as np

    from packd_jax import processes
    from packd_jax.benchmarks.scales import FULL, NETWORKS, examples
    from packd_jax.benchmarks.stacks import Stack, plain_runs
    from packd_jax.json_files import plain_json
    from packd_jax.models import InputSpec, build_model, parameter_bytes

    if group:
        count, index, port = group
        processes.connect(f"127.0.0.1:{port}", count, index)
    features, config = NETWORKS[network]
    data, model = examples(FULL, features), build_model(config, InputSpec.of(features))
    stack = Stack(model, data, plain_runs(1), batch_size, "epoch")
    fed = stack.feed.take(0, steps, steps)
    seconds, sent = [], []
    for _ in range(4):
        started, before = time.perf_counter(), loopback_bytes()
        np.asarray(stack.advance(fed, steps))
        seconds.append(time.perf_counter() - started)
        sent.append(loopback_bytes() - before)
    if processes.is_first():  # the first call compiled
        found = {
            "samples_s": batch_size * steps / np.median(seconds[1:]),
            "loopback_bytes_step": np.median(sent[1:]) / steps,
            "gradient_bytes": parameter_bytes(stack.state.params),
        }
        print(json.dumps(plain_json(found, finite=True)), flush=True)


if __name__ == "__main__":
    name, devices, batch, step_count, *of_group = sys.argv[1:]
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    main(name, int(batch), int(step_count), [int(number) for number in of_group])
