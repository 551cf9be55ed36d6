"""Trains a small stack on whatever devices and processes it is started with; tests compare.

python tests/mesh_program.py OUT.json [--devices=N] [--directory=DIR] [--stop=STEP] [--family=F]
    [--coordinator=HOST:PORT --num_processes=P --process_id=I]

OUT.json has losses, scores, thresholds and sums of the parameters of every run.
"""

import argparse
import json
import os
import sys
from pathlib import Path

PARSER = argparse.ArgumentParser()
PARSER.add_argument("out", type=Path)
PARSER.add_argument("--devices", type=int, default=1)
PARSER.add_argument("--directory")
PARSER.add_argument("--stop", type=int, default=10**9)
PARSER.add_argument("--steps", type=int, default=12)
PARSER.add_argument("--family", default="token_mlp")
PARSER.add_argument("--runs", type=int, default=3)
PARSER.add_argument("--data", type=int, default=0)
PARSER.add_argument("--lanes", type=int, default=1)
PARSER.add_argument("--shards", action="store_true", help="train from shards")
PARSER.add_argument("--coordinator")
PARSER.add_argument("--num_processes", type=int)
PARSER.add_argument("--process_id", type=int)


class Stopped(Exception):
    """The run is to end here."""


def main(options):
    import numpy as np
    import small_study

    from packd_jax import device_mesh, processes, train
    from packd_jax.batching import RowOrder
    from packd_jax.config import ModelConfig, StreamConfig, TraceConfig, TrainConfig
    from packd_jax.models import InputSpec, build_model
    from packd_jax.splits import encode_splits, open_sources
    from packd_jax.traces.mldpc import write_trace

    if options.coordinator:
        processes.connect(options.coordinator, options.num_processes, options.process_id)
    total = 500 if options.lanes == 1 else 9_000
    loads, features = small_study.trace(total), small_study.FEATURES
    trace = TraceConfig(
        (str(options.out.with_suffix(f".{options.process_id}.txt")),),
        unit="percent",
        train=(0, 80),
        validation=(80, 90),
        test=(90, 100),
    )
    write_trace(trace.paths[0], loads)
    stream = StreamConfig(in_memory_rows=10 if options.shards else total)
    sources = open_sources(trace, stream, options.out.with_suffix(".shards"))
    splits = encode_splits(sources, trace, features)
    learnt, judged = splits.train.examples, splits.validation.examples
    count = options.runs
    runs = train.Runs(
        seed=np.arange(count, dtype=np.int32),
        order=np.arange(count, dtype=np.int32) % 2,
        learning_rate=np.linspace(1e-2, 3e-2, count, dtype=np.float32),
    )
    config = TrainConfig(
        steps=options.steps, batch_size=16, warmup_steps=2, evaluations=min(options.steps, 3)
    )
    model = build_model(ModelConfig(options.family, width=4), InputSpec.of(features))
    train.CHUNK = 4

    def stop(step, loss):
        if step >= options.stop:
            raise Stopped

    with device_mesh.layout(data=options.data):
        fit = train.fit(
            model,
            learnt,
            runs,
            [
                RowOrder(range(learnt.rows), seed, lanes=options.lanes, shuffle_rows=4096)
                for seed in range(2)
            ],
            judged,
            config,
            directory=options.directory,
            progress=stop,
        )
    if processes.is_first():
        import jax

        sums = [np.abs(np.asarray(leaf)).sum() for leaf in jax.tree.leaves(fit.variables)]
        found = {
            "devices": jax.device_count(),
            "processes": processes.count(),
            "loss": fit.info.loss,
            "f1": fit.f1.tolist(),
            "threshold": fit.threshold_bin.tolist(),
            "sums": [float(value) for value in sums],
        }
        options.out.write_text(json.dumps(found))


if __name__ == "__main__":
    asked = PARSER.parse_args()
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in flags if "host_platform_device_count" not in flag]
    flags.append(f"--xla_force_host_platform_device_count={asked.devices}")
    os.environ["XLA_FLAGS"] = " ".join(flags)
    try:
        main(asked)
    except Stopped:
        sys.exit(9)
