import json
import os
import pty
import re
import struct
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax import run_log
from packd_jax.run_log import RunLog


def read_lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_on_disk_when_write_returns(tmp_path):
    with RunLog(tmp_path / "new" / "run", {"k": (1, 2)}) as log:
        log.write("teachers", 3, loss=np.float32(0.5), f1=[float("nan"), 1.0], arm="kd")
        log.write("student", np.int64(4), loss=jnp.float32(float("inf")), sizes=np.arange(2))
        first, second = read_lines(log.workdir)
    assert 0 <= first.pop("time_s") <= second.pop("time_s")
    assert first == {"stage": "teachers", "step": 3, "loss": 0.5, "f1": [None, 1.0], "arm": "kd"}
    assert second == {"stage": "student", "step": 4, "loss": None, "sizes": [0, 1]}
    assert json.loads((log.workdir / "config.json").read_text()) == {"k": [1, 2]}
    environment = json.loads((log.workdir / "environment.json").read_text())
    assert environment["versions"]["numpy"] == np.__version__


def test_a_value_that_json_cannot_hold_is_named_and_writes_nothing(tmp_path):
    with RunLog(tmp_path) as log:
        with pytest.raises(TypeError, match=r"metrics\.model is a object; expected"):
            log.write("student", 1, model=object())
        log.write("student", 2)
    assert [line["step"] for line in read_lines(tmp_path)] == [2]


@settings(max_examples=20)
@given(data=st.data())
def test_a_torn_last_line_is_cut_off(tmp_path_factory, data):
    workdir = tmp_path_factory.mktemp("run")
    lines = [
        f'{{"time_s": {step}.5, "stage": "s", "step": {step}}}\n'.encode() for step in range(3)
    ]
    whole = b"".join(lines)
    length = data.draw(st.integers(0, len(whole)))
    (workdir / "metrics.jsonl").write_bytes(whole[:length])
    complete = whole[:length].count(b"\n")
    with RunLog(workdir) as log:
        log.write("s", 9)
    *kept, last = read_lines(workdir)
    assert [line["step"] for line in kept] == list(range(complete))
    assert last["step"] == 9
    assert last["time_s"] >= (complete - 0.5 if complete else 0)  # time goes on


def test_a_file_that_is_no_log_is_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("loss,f1\n1,2\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is no line of a run log"):
        RunLog(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == "loss,f1\n1,2\n"


def test_progress_in_a_file_is_a_few_plain_lines(tmp_path, capsys, monkeypatch):
    with RunLog(tmp_path) as log:
        with log.stage("teachers", total=2_000) as progress:
            for step in range(0, 2_001, 100):
                progress(step, loss=jnp.float32(0.25))
        monkeypatch.setattr(run_log, "_PLAIN_SECONDS", 0.0)
        with log.stage("students", total=40, done=10) as progress:
            progress(20)
            time.sleep(0.01)
            progress(30, f1=0.5)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "teachers: started, 0 of 2,000 done"
    assert re.fullmatch(r"teachers: done, 2,000 of 2,000 in \d\.\d s  loss 0\.25", shown[1])
    assert shown[2] == "students: started, 10 of 40 done"
    assert shown[3] == "students: 20/40  50%"
    assert re.fullmatch(r"students: 30/40  75%  [\d,.]+/s  \d+\.\d s left  f1 0\.5", shown[4])
    assert re.fullmatch(r"students: done, 30 of 40 in \d\.\d s  f1 0\.5", shown[5])
    assert len(shown) == 6


def test_progress_says_where_an_error_stopped_it(tmp_path, capsys):
    with (
        pytest.raises(KeyboardInterrupt),
        RunLog(tmp_path) as log,
        log.stage("teachers", total=10) as progress,
    ):
        progress(4)
        raise KeyboardInterrupt
    assert "teachers: stopped, 4 of 10 in" in capsys.readouterr().err


def test_progress_on_a_terminal_redraws_one_line(tmp_path, monkeypatch):
    reader, writer = pty.openpty()
    monkeypatch.setattr(run_log, "_TERMINAL_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "100")
    with open(writer, "w", encoding="utf-8") as terminal, RunLog(tmp_path) as log:
        monkeypatch.setattr(sys, "stderr", terminal)
        with log.stage("teachers", total=4) as progress:
            progress(1)
            progress(2, note="x" * 100)
    text = b""
    while b"done" not in text or not text.endswith(b"\n"):  # a terminal gives what it has so far
        text += os.read(reader, 10_000)
    drawn = text.decode().split("\r\x1b[K")
    os.close(reader)
    assert len(drawn) == 4 and drawn[0] == ""
    assert drawn[1] == f"teachers: {'━' * 6}{'╌' * 18} 1/4  25%"
    assert len(drawn[2]) == 99 and drawn[2].endswith("x")  # cut off, as it may not wrap
    assert drawn[3].startswith("teachers: done, 2 of 4 in") and drawn[3].count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (184.2, "3 min 04 s"), (3_720, "1 h 02 min")],
)
def test_durations_read_well(seconds, text):
    assert run_log._duration(seconds) == text


def test_tensorboard_gets_finite_scalars(tmp_path):
    pytest.importorskip("tensorboardX", reason="the optional extra [tensorboard] is not installed")
    from tensorboardX.proto.event_pb2 import Event

    with RunLog(tmp_path, tensorboard=True) as log:
        log.write("student", 7, loss=np.float32(0.5), f1=float("nan"), arm="kd", sizes=[1, 2])
    (path,) = (tmp_path / "tensorboard").iterdir()
    data = path.read_bytes()
    found = []
    while data:  # TFRecord: length, its checksum, content, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    assert found == [(7, "student/loss", 0.5)]


def test_absent_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install packd-jax\[tensorboard\]"):
        RunLog(tmp_path, tensorboard=True)
