"""How fast everything before and during training is on this machine, and against plain JAX.

python -m experiments.benchmark [--only=read,features] [--repeats=5] [--out=FILE.json]

Prints a line per measurement: median and quartiles over the repetitions, and for what ran in
turn with something else, how many times as fast it was. About 5 minutes on 2 idle cores.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import run
from packd_jax.benchmarks.run import MEASUREMENTS, run_benchmarks
from packd_jax.benchmarks.scales import FULL, SMOKE
from packd_jax.benchmarks.timing import HEADER, format_line
from packd_jax.config import ConfigError
from packd_jax.json_files import write_json
from packd_jax.provenance import provenance

ONLY = flags.DEFINE_list("only", [], f"some of {', '.join(MEASUREMENTS)}; empty: all")
REPEATS = flags.DEFINE_integer("repeats", 5, "repetitions of each measurement", lower_bound=1)
OUT = flags.DEFINE_string("out", "", "write the lines and the environment there, as JSON")
SCALE = flags.DEFINE_enum("scale", "full", ["full", "smoke"], "smoke: for tests, no measurement")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"{argv[1]}: expected flags only; name measurements by --only")
    scale = FULL if SCALE.value == "full" else SMOKE
    measured = run_benchmarks(ONLY.value, scale, REPEATS.value)
    if OUT.value and not Path(OUT.value).parent.is_dir():
        raise ConfigError(f"--out={OUT.value}: expected a file in a folder that exists")
    print(HEADER, flush=True)
    lines = []
    for line in measured:
        print(format_line(line), flush=True)
        lines.append(line._asdict())
    if OUT.value:
        settings = {"scale": SCALE.value, "repeats": REPEATS.value}
        write_json(OUT.value, {**settings, "environment": provenance(), "lines": lines})


if __name__ == "__main__":
    run(main)
