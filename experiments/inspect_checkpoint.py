"""Shows what a checkpoint holds, or how two checkpoints differ.

python -m experiments.inspect_checkpoint DIR [OTHER_DIR] [--json]

Takes about three seconds, most of it importing JAX. Exits with 2 and one line on stderr if it
is called wrongly, or a directory is missing, damaged or no checkpoint.
"""

import json
import os
import sys
from collections.abc import Sequence

from absl import flags

from experiments.command_line import run
from packd_jax.config import ConfigError
from packd_jax.inspection import (
    compare_checkpoints,
    format_comparison,
    format_inspection,
    inspect_checkpoint,
)
from packd_jax.json_files import plain_json

_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of text.")


def main(argv: Sequence[str]) -> None:
    directories = argv[1:]
    if len(directories) not in (1, 2):
        raise ConfigError(f"{len(directories)} directories given; expected DIR or DIR OTHER_DIR")
    if len(directories) == 1:
        report, as_text = inspect_checkpoint(directories[0]), format_inspection
    else:
        report, as_text = compare_checkpoints(*directories), format_comparison
    text = json.dumps(plain_json(report, finite=True), indent=2) if _JSON.value else as_text(report)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run(main)
