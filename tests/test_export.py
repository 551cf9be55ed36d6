import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_student
import small_study

from packd_jax.export import c_header, find_compiler, reference_logits
from packd_jax.export.vectors import varied_accesses
from packd_jax.quantize import load_integer_student, load_student, quantize_student
from packd_jax.traces.mldpc import write_trace

ROOT = Path(__file__).parents[1]


def run(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "experiments.export", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A checkpoint, and the trace of its study."""
    folder = tmp_path_factory.mktemp("study")
    write_trace(folder / "trace.txt", small_study.trace(rows=900))
    small_student.save(folder / "student", small_student.float_student())
    return folder / "student", folder / "trace.txt"


def test_header_vectors_and_integers_are_of_one_student(study, tmp_path):
    directory, trace = study
    names = {name: tmp_path / name for name in ("my-student.h", "check.c", "student.npz")}
    header, vectors, npz = names.values()
    result = run(
        f"--checkpoint={directory}",
        f"--out={header}",
        f"--vectors={vectors}",
        f"--npz={npz}",
        f"--trace={trace}",
        *(["--verify"] if find_compiler() else []),
    )
    assert result.returncode == 0, result.stderr
    integers, meta = load_integer_student(npz)
    assert f"{header}: my_student_access(), {integers.size_bytes:,} bytes" in result.stdout
    assert "validation F1 " in result.stdout
    if find_compiler():
        assert f"{trace}: 0 of 897 windows differ, " in result.stdout
    assert header.read_text() == c_header(integers, "my_student")
    assert meta["metrics"] == {"threshold": 0.25}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("the rest needs a C compiler (gcc, clang, or CC=PATH)")
    subprocess.run([compiler, "-std=c11", "-O1", "check.c"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "a.out"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1000 accesses agree\n")


def test_a_checkpoint_alone_is_enough(study, tmp_path):
    header, npz = tmp_path / "student.h", tmp_path / "student.npz"
    result = run(f"--checkpoint={study[0]}", f"--out={header}", f"--npz={npz}", "--bits=4")
    assert result.returncode == 0, result.stderr
    assert "--trace=FILE" in result.stdout
    integers, _ = load_integer_student(npz)
    expected = quantize_student(load_student(study[0])[0], weight_bits=4)[0]
    accesses = varied_accesses(expected, 300, seed=2)
    np.testing.assert_array_equal(
        reference_logits(integers, *accesses), reference_logits(expected, *accesses)
    )
    assert json.dumps(integers.describe()) == json.dumps(expected.describe())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--checkpoint=CHECKPOINT", "--out=FOLDER/absent/student.h"],
            "--out=FOLDER/absent/student.h: expected a file in a folder that exists",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(study, tmp_path, arguments, message):
    fill = {"CHECKPOINT": str(study[0]), "FOLDER": str(tmp_path)}
    for word, value in fill.items():
        arguments = [argument.replace(word, value) for argument in arguments]
        message = message.replace(word, value)
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == f"export: {message}\n"
    assert not list(tmp_path.iterdir())
