"""PaCKD end to end: a load trace in, the smallest student that still predicts out.

python -m experiments.packd                                  the embedded workload, ~2 minutes
python -m experiments.packd --trace=FILE --config=experiments/configs/packd.py:table
python -m experiments.packd --config.distill.cluster_ks="(2,)" --config.seeds="(0,1,2,3,4)"

Leaves results.json, report.html, metrics.jsonl and checkpoints in --workdir. The same command
again goes on where an interrupted one stopped.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.command_line import define_config, define_devices, run, study_config
from packd_jax import processes, summary
from packd_jax.ablation import ablate_quirks, quirks_table
from packd_jax.config import ConfigError
from packd_jax.protocol import run_study
from packd_jax.report import write_report
from packd_jax.run_log import RunLog

CONFIG = define_config("quick")
TRACE = flags.DEFINE_list("trace", [], "load trace files; without any, the config's workload")
WORKDIR = flags.DEFINE_string("workdir", "runs/packd", "where everything goes")
ABLATE = flags.DEFINE_bool("ablate_quirks", False, "what each quirk of the authors is worth")
define_devices()
TENSORBOARD = flags.DEFINE_bool("tensorboard", False, "write TensorBoard events too")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --trace={argv[1]}")
    config = study_config(CONFIG.value, TRACE.value)
    workdir = Path(WORKDIR.value)
    with RunLog(workdir, tensorboard=TENSORBOARD.value) as log:
        if ABLATE.value:
            print(quirks_table(ablate_quirks(config, workdir, log)))
            return
        results = run_study(config, workdir, log)
    if not processes.is_first():
        return
    write_report(results, workdir / "report.html")
    chosen = results["rows"][results["selected"]]
    print(summary.table(results["rows"]))
    print()
    print(summary.differences_table(results["differences"]))
    print(f"\nvalidation chose {chosen['entry']}, {chosen['arm']}: test F1 {chosen['f1']:.4f},")
    print(f"{chosen['params']:,} parameters, {chosen['bytes']:,} bytes; {workdir}/report.html")


if __name__ == "__main__":
    run(main)
