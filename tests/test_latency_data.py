"""What the flags of data say, asked in a process of its own: flags are global."""

import json
import subprocess
import sys
from pathlib import Path

from test_dataset import ENVIRONMENT, write

from latency_jax.devices import Device

ROOT = Path(__file__).parents[1]
ASK = """
import json, sys
from absl import flags
from experiments.latency_data import read_data
flags.FLAGS(["ask", *sys.argv[1:]])
data = read_data()
print(json.dumps([
    {k: sorted(set(t.columns.get("device", ["none"]))) for k, t in data.tables.items()},
    [device.name for device in data.devices],
    data.device and data.device.name,
    data.environment.get("id"),
    data.about["repeatability"],
    sorted(data.about.get("environments", {})),
]))
"""


def test_collections_of_one_machine_and_of_several(tmp_path):
    other = {**ENVIRONMENT, "id": "ffff", "backend": "cpu"}
    write(tmp_path / "a")
    write(tmp_path / "b", environment=other)
    described = [Device(name, 1e11, 1e10, 1e6, 2, 2e9, 8e9).to_json() for name in ("some", "ffff")]
    (tmp_path / "devices.json").write_text(json.dumps(described))

    def ask(*arguments):
        run = subprocess.run(
            [sys.executable, "-c", ASK, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    one = ask(f"--data={tmp_path / 'a'}")
    none = {"dense": ["none"], "max_pool": ["none"]}
    assert one == [none, [], None, ENVIRONMENT["id"], 0.5, []]
    told = f"--devices={tmp_path / 'devices.json'}"
    assert ask(f"--data={tmp_path / 'b'}", told)[2] == "ffff"
    both = {kind: ["ffff", "some"] for kind in none}
    # The first machine is found by its CPU model, the second by its environment's id.
    environment = {**ENVIRONMENT, "backend": "cpu"}
    write(tmp_path / "c", environment=environment)
    several = ask(f"--data={tmp_path / 'c'},{tmp_path / 'b'}", told)
    assert several == [both, ["some", "ffff"], None, None, 0.5, ["ffff", "some"]]
