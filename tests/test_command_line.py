"""How commands end: the exit status and the one line that is told, for every kind of mistake."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl.testing import flagsaver
from ml_collections import ConfigDict

from experiments import command_line
from packd_jax.checkpoints import CheckpointError, restore_checkpoint
from packd_jax.config import Config, ConfigError, ModelConfig, TraceConfig
from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.read_trace import read_trace

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _as_a_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/experiments/packd.py"])
    with flagsaver.flagsaver():
        yield


def raises(error):
    def main(argv):
        raise error

    return main


def wrong_width(argv):
    ModelConfig(width=0)


def no_trace(argv):
    read_trace("/does/not/exist.txt")


def no_checkpoint(argv):
    restore_checkpoint("/does/not/exist")


@pytest.mark.parametrize(
    ("main", "told"),
    [
        (wrong_width, "packd: config.width = 0: expected at least 1"),
        (no_trace, "packd: /does/not/exist.txt: "),
        (no_checkpoint, "packd: /does/not/exist: does not exist; expected the directory of"),
        (raises(ConfigError("one\n  and\tthe other")), "packd: one and the other"),
        (raises(TraceError("a", "line 3", "'x'", "a load")), "packd: a: line 3: 'x'; expected a l"),
        (raises(CheckpointError("a", "is no checkpoint")), "packd: a: is no checkpoint"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(capsys, main, told):
    assert command_line._call(main, ["packd"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(told)
    assert err.count("\n") == 1 and err.endswith("\n")


def test_all_done_is_status_0_and_silent(capsys):
    seen = []
    assert command_line._call(seen.append, ["packd", "rest"]) == 0
    assert seen == [["packd", "rest"]]
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_says_how_to_go_on(capsys):
    assert command_line._call(raises(KeyboardInterrupt()), ["packd"]) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), IndexError(), AssertionError(), TypeError()]
)
def test_a_bug_is_not_dressed_as_a_mistake(error):
    with pytest.raises(type(error)):
        command_line._call(raises(error), ["packd"])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--tracee=x", "packd: Unknown command line flag 'tracee'"),
        ("--verbosity=much", "packd: flag --verbosity=much: "),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2(capsys, argument, told):
    with pytest.raises(SystemExit) as ended:
        command_line._parse(["packd", argument])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(told) and err.count("\n") == 1


def test_what_is_no_flag_is_left_for_the_command():
    assert command_line._parse(["packd", "--verbosity=0", "some.txt"]) == ["packd", "some.txt"]


def test_the_configuration_of_a_command():
    config = Config(trace=TraceConfig(paths=("its own.txt",)))

    def given():
        return ConfigDict(dataclasses.asdict(config))

    assert command_line.study_config(given(), []) == config
    found = command_line.study_config(given(), ["a.txt", "b.txt"])
    assert found.trace.paths == ("a.txt", "b.txt")
    assert dataclasses.replace(found, trace=config.trace) == config
    wrong = given()
    with wrong.unlocked():
        wrong.sedes = (1,)
    with pytest.raises(
        ConfigError, match=r"config\.sedes: no such key; did you mean config\.seeds"
    ):
        command_line.study_config(wrong, [])


def test_the_cache_of_compilations_is_the_users_own_if_there_is_one():
    before = jax.config.jax_compilation_cache_dir
    assert before and "JAX_COMPILATION_CACHE_DIR" in os.environ  # see conftest.py
    command_line._call(lambda argv: None, ["packd"])
    assert jax.config.jax_compilation_cache_dir == before


def test_a_command_that_is_interrupted(tmp_path):
    """The whole way, in a process of its own: flags, cache, Ctrl-C, status."""
    script = tmp_path / "command.py"
    script.write_text(
        "import signal, jax\n"
        "from experiments.command_line import run\n"
        "def main(argv):\n"
        "    print(argv[1:], jax.config.jax_compilation_cache_dir, flush=True)\n"
        # Whoever starts the tests in the background may have it ignored.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "run(main)\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    ended = subprocess.run(
        [sys.executable, str(script), "rest"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 130
    assert ended.stdout == f"['rest'] {tmp_path / 'packd_jax'}\n"
    assert ended.stderr == "interrupted; the same command goes on from here\n"
