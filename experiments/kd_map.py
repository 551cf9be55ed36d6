"""Does PaCKD help, and when? Paired differences between arms over regimes.

python -m experiments.kd_map --trace=FILE[,FILE...] --workdir=DIR

Several traces are one mix. --teacher_trace has teachers from other programs, --shift_pages
judges on another address layout, --adapt_rate lets students learn on while they are judged.
About 15 s a cell and 3 minutes of teachers on 2 cores. Leaves map.json, map.txt and
map.svg; the same command again runs the cells that are missing.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import define_config, run, study_config
from packd_jax.config import ConfigError
from packd_jax.kd_map import map_table, run_map, star
from packd_jax.kd_map_plot import write_map_plot
from packd_jax.run_log import RunLog
from packd_jax.staged_file import write_text

CONFIG = define_config("map")
TRACE = flags.DEFINE_list("trace", [], "load trace files; without any, the config's workload")
TEACHER_TRACE = flags.DEFINE_list("teacher_trace", [], "traces of the teachers, if other ones")
SHIFT_PAGES = flags.DEFINE_integer(
    "shift_pages", 0, "move the test addresses by so many pages", lower_bound=0
)
ADAPT_RATE = flags.DEFINE_float(
    "adapt_rate", 0.0, "learn on while judged, at this rate; 0: do not", lower_bound=0.0
)
WORKDIR = flags.DEFINE_string("workdir", "runs/map", "where everything goes")
ROWS = flags.DEFINE_list("rows", ["500", "300", "2000", "20000", "0"], "student rows; 0: all")
STEPS = flags.DEFINE_list("teacher_steps", ["3000", "60"], "steps of each teacher")
WIDTHS = flags.DEFINE_list("widths", ["4", "1", "24"], "hidden units of the student")


def main(argv: Sequence[str]) -> None:
    config = study_config(CONFIG.value, TRACE.value)
    if len(argv) > 1 or len(config.entries) != 1:
        raise ConfigError("expected flags only, and a config with one entry (its students vary)")
    try:
        axes = [tuple(map(int, flag.value)) for flag in (ROWS, STEPS, WIDTHS)]
    except ValueError as error:
        raise ConfigError(f"--rows, --teacher_steps, --widths: {error}; expected numbers") from None
    workdir = Path(WORKDIR.value)
    with RunLog(workdir) as log:
        cells = star(*axes)
        found = run_map(
            config,
            cells,
            workdir,
            log,
            TEACHER_TRACE.value,
            SHIFT_PAGES.value,
            ADAPT_RATE.value,
        )
    text = map_table(found)
    write_text(workdir / "map.txt", text + "\n")
    write_map_plot(found, workdir / "map.svg")
    print(text)


if __name__ == "__main__":
    run(main)
