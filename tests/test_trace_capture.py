"""Programs that are compiled here, traced by Valgrind, and what the traces say of them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packd_jax.config import ConfigError
from packd_jax.traces import capture as capture_module
from packd_jax.traces.capture import Region, address_of, capture
from packd_jax.traces.lackey import read_lackey
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.read_trace import read_trace

ROOT = Path(__file__).parent.parent
needs_tools = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("gcc") and shutil.which("nm")),
    reason="needs valgrind, gcc and nm",
)
STRIDED = r"""
#include <stdio.h>
#include <stdlib.h>
static volatile long sum;
static char *data;
__attribute__((noinline)) void kernel(void) {
    for (long i = 0; i < 40000; i++) sum += data[i * 192];
}
__attribute__((noinline)) void after(void) { sum = 0; }
int main(void) {
    data = calloc(40000, 192);
    kernel();
    printf("%ld\n", sum);
    after();
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    (folder / "strided.c").write_text(STRIDED)
    subprocess.run(["gcc", "-O1", "-o", "strided", "strided.c"], cwd=folder, check=True)
    return str(folder / "strided")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.capture_trace", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@needs_tools
def test_the_loads_of_a_function_are_captured(program, tmp_path):
    """A stride of three blocks is all that the caches leave of the loop."""
    out = tmp_path / "loads.txt.xz"
    done = run(f"--out={out}", "--begin=kernel", "--end=after", "--", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "0"  # what the program prints is left alone
    trace = read_trace(out)
    assert done.stdout.splitlines()[1] == f"{trace.rows:,} loads in {out}"
    strides = (trace.address[1:] >> 6).astype(int) - (trace.address[:-1] >> 6).astype(int)
    assert (strides == 3).sum() > 39_000 and trace.rows < 42_000
    assert trace.instr_id[0] < 20 and not trace.hit[-1000:].any()


@needs_tools
def test_what_is_kept_ends_with_its_instructions_or_lines(program, tmp_path):
    out = tmp_path / "loads.txt"
    arguments = (f"--out={out}", "--begin=kernel", "--start=1000", "--stop=2000")
    assert run(*arguments, "--", program).returncode == 0
    ids = read_trace(out).instr_id
    assert 1000 <= ids[0] < 1010 and 1990 < ids[-1] < 2000
    text = b"".join(capture([program], Region("kernel", skip_lines=3, stop_lines=1003)))
    whole = b"".join(capture([program], Region("kernel", stop_lines=1003)))
    assert text.count(b"\n") == 1000 and whole.split(b"\n", 3)[3] == text
    place = address_of(program, "kernel")
    assert whole.startswith(b"I  ") and int(whole[3:11], 16) & 0xFFF == place.address & 0xFFF
    again = b"".join(capture([program], Region("0x" + whole[3:11].decode(), stop_lines=1003)))
    assert again == whole
    assert sum(part.rows for part in read_lackey([whole], "kernel")) > 100


@needs_tools
@pytest.mark.parametrize(
    ("region", "message"),
    [
        (Region("kernal"), "has no function 'kernal'"),
        (Region("0xzz"), "'0xzz': expected a hexadecimal address"),
    ],
)
def test_places_that_are_none(program, region, message):
    with pytest.raises(ConfigError, match=message):
        next(capture([program], region))


@needs_tools
def test_a_region_that_never_begins(program):
    with pytest.raises(TraceError, match="never ran; expected a function that is called"):
        list(capture([program], Region("0x1234")))


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="no-such-program: expected a program that can be run"):
        monkeypatch.setattr(
            capture_module.shutil, "which", lambda name: None if "no-" in name else "/bin/true"
        )
        next(capture(["no-such-program"]))
    monkeypatch.setattr(capture_module.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="valgrind is not on PATH: install Valgrind"):
        next(capture(["true"]))
