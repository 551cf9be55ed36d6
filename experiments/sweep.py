"""Grid or random search over any configuration fields; the Pareto front of F1 against size.

python -m experiments.sweep --axis="entries.tokens_mlp.student.width=(1,2,4,8,16)" \\
    --axis="entries.tokens_mlp.student_train.learning_rate=(3e-3,1e-2)" --config.arms="('no_kd',)"

Leaves sweep.jsonl (a line per point, entry, arm and seed), front.txt and front.svg in
--workdir; the same command again runs what is missing.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import define_config, run, study_config
from packd_jax.config import ConfigError
from packd_jax.run_log import RunLog
from packd_jax.staged_file import write_text
from packd_jax.sweep import front_table, grid, pareto_front, parse_axis, random_points, run_sweep
from packd_jax.sweep_plot import write_front_plot

CONFIG = define_config("quick")
TRACE = flags.DEFINE_list("trace", [], "load trace files; without any, the config's workload")
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "where everything goes")
AXES = flags.DEFINE_multi_string("axis", [], "FIELD=(value, value, ...)")
RANDOM = flags.DEFINE_integer("random", 0, "draw so many points of the grid; 0: all", lower_bound=0)
RANDOM_SEED = flags.DEFINE_integer("random_seed", 0, "of the drawn points")
COST = flags.DEFINE_enum("cost", "bytes", ["bytes", "params"], "what the front is drawn against")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1 or not AXES.value:
        raise ConfigError("expected at least one --axis='FIELD=(value, value, ...)', flags only")
    config = study_config(CONFIG.value, TRACE.value)
    axes = dict(map(parse_axis, AXES.value))
    points = random_points(axes, RANDOM.value, RANDOM_SEED.value) if RANDOM.value else grid(axes)
    workdir = Path(WORKDIR.value)
    with RunLog(workdir) as log:
        rows = run_sweep(config, points, workdir, log)
    front = pareto_front(rows, COST.value)
    text = front_table(front)
    write_text(workdir / "front.txt", text + "\n")
    write_front_plot(rows, front, COST.value, workdir / "front.svg")
    print(text)


if __name__ == "__main__":
    run(main)
