import subprocess

import numpy as np
import pytest
import small_student

from packd_jax.export import c_header, find_compiler, reference_logits, vector_program
from packd_jax.export.vectors import fnv1a, varied_accesses
from packd_jax.quantize import quantize_student


@pytest.fixture(scope="module")
def student():
    return quantize_student(small_student.float_student(**small_student.TABLES))[0]


def test_hashes_are_fnv1a():
    # Of the bytes "foobar\0\0", and of four zeros, by the definition.
    words = np.frombuffer(b"foobar\0\0", "<i4")[None]
    value = 0xCBF29CE484222325
    for byte in b"foobar\0\0":
        value = (value ^ byte) * 0x100000001B3 % 2**64
    assert fnv1a(words).tolist() == [value]
    # FNV's own test vector: "foob" in 64 bits.
    assert fnv1a(np.frombuffer(b"foob", "<i4")[None]).tolist() == [0xDD120E790C2512AF]


def test_accesses_reach_every_token(student):
    pc, address = varied_accesses(student, 4000, seed=0)
    seen = {}

    class Recorder:
        def __getattr__(self, name):
            return getattr(student, name)

        def logits(self, inputs):
            seen.update(inputs)
            return student.logits(inputs)

    reference_logits(Recorder(), pc, address)
    assert len(student.tables) == 6
    for table in student.tables:
        columns = seen[table.name].reshape(-1, table.steps)
        # The last delta to the current access is 0.
        for step in range(table.steps - (table.name == "delta")):
            assert len(np.unique(columns[:, step])) == len(table.values), table.name


def test_too_few_accesses_have_no_logits(student):
    pc, address = varied_accesses(student, student.features.look_back, seed=0)
    assert reference_logits(student, pc, address).shape == (0, student.label_bits)


def test_the_program_agrees_and_tells_when_it_does_not(student, tmp_path):
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    header = c_header(student, "student")
    (tmp_path / "student.h").write_text(header)
    (tmp_path / "vectors.c").write_text(vector_program(student, "student", "student.h", 200))

    def verdict():
        options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "vectors.c"]
        built = subprocess.run([compiler, *options], cwd=tmp_path, capture_output=True, text=True)
        assert built.stderr == "" and built.returncode == 0
        done = subprocess.run([tmp_path / "a.out"], capture_output=True, text=True)
        return done.returncode, done.stdout

    assert verdict() == (0, "200 accesses agree\n")
    bias = header.index("student_bias_1[16] = {")
    digit = next(i for i in range(bias + 24, len(header)) if header[i].isdigit())
    other = "1" if header[digit] != "1" else "2"
    (tmp_path / "student.h").write_text(header[:digit] + other + header[digit + 1 :])
    assert verdict() == (1, "access 3: other logits than the reference's\n")
