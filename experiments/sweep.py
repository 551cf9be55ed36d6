"""Grid or random search over any configuration fields; the Pareto front of F1 against size.

python -m experiments.sweep --axis="entries.tokens_mlp.student.width=(1,2,4,8,16)" \\
    --axis="entries.tokens_mlp.student_train.learning_rate=(3e-3,1e-2)" --config.arms="('no_kd',)"
... --engine=ray [--address=HOST:PORT] [--gpus_per_trial=0.5] [--search=optuna --trials=20]
    [--scheduler=asha]

Leaves sweep.jsonl (a line per point, entry, arm and seed), front.txt and front.svg in
--workdir; the same command again runs what is missing, with either engine. Ray needs
pip install 'packd-jax[ray]', and on a cluster a --workdir that all nodes see.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import define_config, run, study_config
from packd_jax.config import ConfigError
from packd_jax.ray_experiment import RaySettings, RaySweepError
from packd_jax.ray_sweep import run_ray_sweep
from packd_jax.run_log import RunLog
from packd_jax.staged_file import write_text
from packd_jax.sweep import front_table, grid, pareto_front, parse_axis, random_points, run_sweep
from packd_jax.sweep_plot import write_front_plot
from packd_jax.sweep_table import finished

CONFIG = define_config("quick")
TRACE = flags.DEFINE_list("trace", [], "load trace files; without any, the config's workload")
WORKDIR = flags.DEFINE_string("workdir", "runs/sweep", "where everything goes")
AXES = flags.DEFINE_multi_string("axis", [], "FIELD=(value, value, ...)")
RANDOM = flags.DEFINE_integer("random", 0, "draw so many points of the grid; 0: all", lower_bound=0)
RANDOM_SEED = flags.DEFINE_integer("random_seed", 0, "of the drawn points")
COST = flags.DEFINE_enum("cost", "bytes", ["bytes", "params"], "what the front is drawn against")
ENGINE = flags.DEFINE_enum("engine", "local", ["local", "ray"], "this process, or a Ray cluster")
ADDRESS = flags.DEFINE_string("address", None, "host:port of a Ray cluster; none: this machine")
STORAGE = flags.DEFINE_string("storage", None, "Ray's state of the sweep; none: WORKDIR/ray")
CPUS = flags.DEFINE_float("cpus_per_trial", 1, "of a Ray trial", lower_bound=0)
GPUS = flags.DEFINE_float("gpus_per_trial", 0, "of a Ray trial, 0.5: two share one", lower_bound=0)
FAILURES = flags.DEFINE_integer(
    "max_failures", 3, "of a trial, all but the last tried again", lower_bound=0
)
SEARCH = flags.DEFINE_enum("search", "grid", ["grid", "optuna"], "all of the grid, or Optuna's TPE")
TRIALS = flags.DEFINE_integer("trials", 20, "points that Optuna draws", lower_bound=1)
SCHEDULER = flags.DEFINE_enum("scheduler", "none", ["none", "asha"], "asha stops bad trials early")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1 or not AXES.value:
        raise ConfigError("expected at least one --axis='FIELD=(value, value, ...)', flags only")
    config = study_config(CONFIG.value, TRACE.value)
    axes = dict(map(parse_axis, AXES.value))
    points = random_points(axes, RANDOM.value, RANDOM_SEED.value) if RANDOM.value else grid(axes)
    workdir = Path(WORKDIR.value)
    settings = ray_settings()
    with RunLog(workdir) as log:
        if settings is None:
            rows = run_sweep(config, points, workdir, log)
        else:
            rows = run_ray_sweep(config, axes, points, workdir, log, settings)
    front = pareto_front(rows, COST.value)
    text = front_table(front)
    write_text(workdir / "front.txt", text + "\n")
    write_front_plot(finished(rows), front, COST.value, workdir / "front.svg")
    print(text)
    stopped = len(rows) - len(finished(rows))
    if stopped:
        print(f"{stopped} more points were stopped early; sweep.jsonl says when")


def ray_settings() -> RaySettings | None:
    """What the flags say of Ray; None for the local engine."""
    if ENGINE.value == "local":
        if SEARCH.value != "grid" or SCHEDULER.value != "none":
            raise ConfigError("--search=optuna and --scheduler=asha need --engine=ray")
        return None
    if SEARCH.value == "optuna" and RANDOM.value:
        raise ConfigError("--random draws points of the grid; with --search=optuna set --trials")
    return RaySettings(
        address=ADDRESS.value,
        storage=STORAGE.value,
        cpus_per_trial=CPUS.value,
        gpus_per_trial=GPUS.value,
        max_failures=FAILURES.value,
        asha=SCHEDULER.value == "asha",
        optuna_trials=TRIALS.value if SEARCH.value == "optuna" else 0,
        seed=RANDOM_SEED.value,
    )


if __name__ == "__main__":
    run(main, RaySweepError)
