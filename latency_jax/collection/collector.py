"""One collector of a fleet: `python -m latency_jax.collection.collector --help`.

The standard input is a pipe that only the one who started it holds open: however he ends, the
pipe ends with him, and so does the collector, whose directory holds what it has measured by then.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
from pathlib import Path

from latency_jax.collection.collect import AT_ONCE, collect
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.collection.fleet_node import JOB
from latency_jax.config import read_config
from latency_jax.environment import environment, run_inline
from latency_jax.measuring.load import LoadError
from latency_jax.parameters import ParameterError
from packd_jax.config import ConfigError

MISTAKES = (ConfigError, DatasetError, LoadError, ParameterError, ModuleNotFoundError)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=Path, help=f"holds {JOB}; measurements go there")
    parser.add_argument("--facts", action="store_true", help="only print the environment as JSON")
    options = parser.parse_args()
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    run_inline()
    if options.facts:
        print(json.dumps(environment()))
        return 0
    try:
        job = json.loads((options.directory / JOB).read_text())
        for name in job["register"]:
            importlib.import_module(name)
        is_finished = collect(read_config(job["config"]), options.directory, AT_ONCE).is_finished
    except MISTAKES as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    if not is_finished:  # what compiled programs leave in memory ends with the process
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return 0


def _end_with_the_pipe() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
