import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_collection import WAITING, all_keys, keys, tiny

from latency_jax.collection.dataset_file import FILE
from latency_jax.collection.fleet_node import JOB
from packd_jax.config import to_json_dict

ROOT = Path(__file__).parent.parent
# After five measurements the collector starts itself anew.
IN_PARTS = """
import os, sys
from latency_jax.collection import collector
collector.AT_ONCE = 5
print("begins", flush=True)
sys.exit(collector.main())
"""


def start(directory, config, *what, register=()):
    directory.mkdir(exist_ok=True)
    job = {"config": to_json_dict(config), "register": register}
    (directory / JOB).write_text(json.dumps(job))
    return subprocess.Popen(
        [sys.executable, *(what or ("-m", "latency_jax.collection.collector")), str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_measures_all_in_several_processes(tmp_path):
    config = tiny(configurations=6)
    with start(tmp_path, config, "-c", IN_PARTS) as run:
        told, errors = run.stdout.read(), run.stderr.read()
    assert run.returncode == 0, errors
    assert told.count("begins") >= 2
    found = keys(tmp_path)
    assert len(found) == len(set(found)) and set(found) == all_keys(config)


def test_it_ends_with_the_one_who_started_it(tmp_path):
    directory = tmp_path / "run"
    with start(directory, tiny(**WAITING)) as run:
        while not (directory / FILE).exists() or (directory / FILE).read_bytes().count(b"\n") < 4:
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.01)
        run.stdin.close()
        assert run.wait(30) == 1
        run.stderr.read()
    assert len(keys(directory)) == 3


@pytest.mark.parametrize(
    ("register", "data", "told"),
    [(["no_kinds"], b"", "No module named 'no_kinds'"), ([], b"else", "starts no dataset")],
)
def test_a_mistake_is_one_line(tmp_path, register, data, told):
    (tmp_path / FILE).write_bytes(data)
    with start(tmp_path, tiny(), register=register) as run:
        errors = run.stderr.read()
    assert run.returncode == 2
    assert told in errors and errors.count("\n") == 1
