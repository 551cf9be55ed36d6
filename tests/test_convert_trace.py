"""The command: formats in, ML-DPC text out, and mistakes in a line."""

import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from packd_jax.config import CacheConfig, CacheLevelConfig
from packd_jax.config.trace import CACHE_PRESETS
from packd_jax.traces.read_trace import read_trace

ROOT = Path(__file__).parent.parent
GOOD = b"I  401000,4\n L 4000000,8\nI  401004,4\n M 400003c,8\nI  401008,4\n L 4100000,4\n"
COMMANDS = {  # name: (arguments, exit status, what stdout or else stderr begins with)
    "plain": (["in.lackey", "out.txt"], 0, "3 loads in out.txt"),
    "window": (
        ["in.lackey", "out.gz", "--start=2", "--stop=3", "--cache.preset=small"],
        *(0, "1 loads in out.gz"),
    ),
    "small caches": (
        ["big.csv", "out.xz", "--columns=pc=where,address=what", "--cache.preset=small"]
        + ["--cache.llc.size_bytes=524288", "--cache.memory_latency_cycles=99"],
        *(0, "20,000 loads in out.xz"),
    ),
    "no suffix": (["in.lackey", "out.csv"], 2, "out.csv: expected a name that ends in .txt"),
    "one file": (["in.lackey"], 2, "1 files given; expected IN OUT"),
    "absent": (["absent", "out.txt"], 2, "absent: file: cannot be opened (No such file"),
    "nowhere": (["in.lackey", "no/out.txt"], 2, "no/out.txt: file: cannot be written (No such"),
    "preset": (["in.lackey", "out.txt", "--cache.preset=x"], 2, "flag --cache.preset=x: value"),
    "ways": (["in.lackey", "out.txt", "--cache.l2.ways=7"], 2, "cache.l2.size_bytes = 524288"),
    "flag": (["in.lackey", "out.txt", "--cache.l2.way=7"], 2, "Unknown command line flag"),
    "column": (["big.csv", "out.txt", "--columns=pc"], 2, "--columns: 'pc': expected FIELD=NAME"),
    "damaged": (["damaged.xz", "kept.txt"], 2, "damaged.xz: after line "),
}
# Runs commands one after another in one process, since most of a short one's time is imports.
RUN_ALL = """
import contextlib, io, json, sys
from absl import flags
from absl.testing import flagsaver
from experiments import command_line, convert_trace

def run(arguments):
    sys.argv = ["convert_trace", *arguments]
    try:
        return command_line._call(convert_trace.main, command_line._parse(sys.argv))
    except SystemExit as ended:
        return ended.code

ended = {}
flags.FLAGS(["convert_trace"])
for name, arguments in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(arguments)
    ended[name] = status, out.getvalue(), err.getvalue()
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Folder of the commands, and name -> exit status, stdout and stderr."""
    folder = tmp_path_factory.mktemp("convert")
    (folder / "in.lackey").write_bytes(GOOD)
    rows = "".join(f"{64 * (i % 10_000)},0x401000,L\n" for i in range(20_000))
    (folder / "big.csv").write_text("what,where,type\n" + rows)
    (folder / "damaged.xz").write_bytes(lzma.compress(GOOD * 50_000)[:-40])
    (folder / "kept.txt").write_bytes(b"as before")
    (folder / "run_all.py").write_text(RUN_ALL)
    commands = json.dumps({name: command[0] for name, command in COMMANDS.items()})
    done = subprocess.run(
        [sys.executable, "run_all.py", commands],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return folder, json.loads(done.stdout)


def test_the_command_itself(tmp_path):
    (tmp_path / "in").write_bytes(GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.convert_trace", tmp_path / "in", tmp_path / "out.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "3 loads in " in done.stdout, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_status_and_one_line(ended, name):
    status, out, err = ended[1][name]
    _, expected_status, said = COMMANDS[name]
    assert status == expected_status, err
    if status == 2:
        assert out == "" and err.startswith(f"convert_trace: {said}") and err.count("\n") == 1
    else:
        assert out.startswith(said)


def test_what_was_converted_is_what_the_reader_gives(ended):
    folder, _ = ended
    plain, window = read_trace(folder / "out.txt"), read_trace(folder / "out.gz")
    assert gzip.decompress((folder / "out.gz").read_bytes()) == b"2, 50, 4000040, 401004, 0\n"
    assert plain.address.tolist() == [0x4000000, 0x4000040, 0x4100000]
    for whole, column in zip(plain, window):
        assert whole[1:2].tolist() == column.tolist()
    cache = CacheConfig(
        CACHE_PRESETS["small"].l1d,
        CACHE_PRESETS["small"].l2,
        CacheLevelConfig(512 * 1024, 16, 20),
        memory_latency_cycles=99,
    )
    columns = {"pc": "where", "address": "what"}
    expected = read_trace(folder / "big.csv", cache, columns=columns)
    for found, column in zip(read_trace(folder / "out.xz"), expected):
        np.testing.assert_array_equal(found, column)


def test_nothing_half_written_is_left(ended):
    folder, _ = ended
    assert (folder / "kept.txt").read_bytes() == b"as before"
    written = {"out.txt", "out.gz", "out.xz"}
    assert {path.name for path in folder.iterdir()} == {
        *("in.lackey", "big.csv", "damaged.xz", "kept.txt", "run_all.py"),
        *written,
    }
