"""Makes a LatencyModel for a new device out of one for others, from 10 to 50 measurements there.

python -m experiments.recalibrate_latency --latency_model=OLD.zip --data=DIR --out=NEW.zip
python -m experiments.recalibrate_latency --latency_model=OLD.zip --data=FILE.csv --out=NEW.zip \\
    --kind=conv2d --columns=batch_size=B,... --target=latency_ms --unit=ms --device="Tesla T4"

--data is what experiments.collect_latency has left on the new device after a minute or so, or a
file, as for experiments.fit_latency. --device says what the data sheet says of it: a known GPU, or
one of --devices=FILE.json; without it, measurements alone say how the devices differ. Prints how
the old model and the new one predict the measurements; the new one has not seen those that it is
asked about. From a few hundred measurements of a kind on, experiments.fit_latency does as well.
"""

import shlex
import sys
from collections.abc import Sequence

from absl import flags

from experiments.command_line import define_register, register_kinds, run
from experiments.latency_data import chosen_device, read_data
from latency_jax.artifacts import ArtifactError
from latency_jax.collection.dataset_file import DatasetError
from latency_jax.csv_table import CsvTableError
from latency_jax.devices import DeviceError
from latency_jax.latency_model import LatencyModel
from latency_jax.parameters import ParameterError
from latency_jax.recalibration import METHODS, describe, recalibrate
from latency_jax.table import TableError
from packd_jax.config import ConfigError

LATENCY_MODEL = flags.DEFINE_string("latency_model", None, "what fit_latency left", required=True)
OUT = flags.DEFINE_string("out", None, "where the new model goes", required=True)
METHOD = flags.DEFINE_enum("method", "blend", list(METHODS), "how it is corrected")
SEED = flags.DEFINE_integer("seed", 0, "of the parts of cross-validation", lower_bound=0)
REGISTER = define_register()


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ConfigError(f"arguments {argv[1:]}: expected flags only, like --data={argv[1]}")
    register_kinds(REGISTER.value)
    old, data = LatencyModel.load(LATENCY_MODEL.value), read_data()
    if data.devices:
        raise ConfigError("--data is of several devices: expected measurements of the new one")
    known = {kind: table for kind, table in data.tables.items() if kind in old.kinds}
    for kind in data.tables.keys() - known.keys():
        print(f"warning: {kind}: not a kind of the latency model, left out", file=sys.stderr)
    if not known:
        raise ConfigError(f"--data: {', '.join(data.tables)}; expected some of {old.kinds}")
    command = shlex.join(["python", "-m", "experiments.recalibrate_latency", *sys.argv[1:]])
    found = recalibrate(
        old,
        known,
        chosen_device() or data.device,
        data.environment,
        METHOD.value,
        SEED.value,
        {**data.about, "command": command},
    )
    found.model.save(OUT.value)
    print(describe(found, {kind: table.rows for kind, table in known.items()}))


if __name__ == "__main__":
    run(main, ArtifactError, CsvTableError, DatasetError, DeviceError, ParameterError, TableError)
