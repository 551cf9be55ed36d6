import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
import small_student
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packd_jax.config import ConfigError
from packd_jax.export import CompiledStudent, c_header, find_compiler, reference_logits
from packd_jax.export.vectors import varied_accesses
from packd_jax.quantize import quantize_student

COMPILERS = [pytest.param(c, marks=[] if shutil.which(c) else [pytest.mark.skip(f"no {c} here")])
             for c in ("gcc", "clang")]  # fmt: skip


def integers(bits=8, **options):
    return quantize_student(small_student.float_student(**options), weight_bits=bits)[0]


STUDENTS = {
    "plain": lambda: integers(),
    "int4, three layers": lambda: integers(4, depth=3, width=5),
    "deltas to the previous access": lambda: integers(delta_from="previous"),
    "no PCs": lambda: integers(pc_vocabulary=0),
    "one PC, one access, one octave": lambda: integers(
        pc_vocabulary=1, look_back=1, delta_log_buckets=1
    ),
    "PCs far apart": lambda: dataclasses.replace(
        integers(), pc_vocabulary=np.array([1, 9, 1 << 33, (1 << 64) - 1], np.uint64)
    ),
    "all tables": lambda: integers(**small_student.TABLES),
    "int4, tables of one entry": lambda: integers(
        4, local_deltas=1, local_entries=1, local_confidence=True, popularity_entries=1
    ),
    "deltas of PCs in 3 entries": lambda: integers(local_deltas=3, local_entries=3),
    "all tokens of a byte": lambda: integers(
        delta_exact=69, delta_log_buckets=58, pc_vocabulary=248, pc_hash_buckets=8
    ),
}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", STUDENTS)
def test_every_compiled_logit_is_the_references(kind, compiler):
    student = STUDENTS[kind]()
    pc, address = varied_accesses(student, 3000, seed=1)
    compiled = CompiledStudent(student, compiler)
    logits = reference_logits(student, pc, address)
    assert len(logits) == 3000 - student.features.look_back and logits.std() > 0
    np.testing.assert_array_equal(compiled.logits(pc, address), logits)
    said = np.packbits(logits >= student.threshold, axis=1, bitorder="little")
    bitmaps = compiled.bitmaps(pc, address)
    np.testing.assert_array_equal(bitmaps[student.features.look_back :], said)
    assert not bitmaps[: student.features.look_back].any()
    assert 0 < np.unpackbits(said).mean() < 1


@pytest.fixture(scope="module", params=[{}, small_student.TABLES], ids=["plain", "tables"])
def compiled(request):
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    student = integers(**request.param)
    return student, CompiledStudent(student, compiler)


def test_the_last_windows_are_those_after_all_accesses(compiled):
    student, functions = compiled
    accesses = varied_accesses(student, 400, seed=2)
    whole = reference_logits(student, *accesses)
    for first in (0, 2, 3, 4, 150, 399, 400):
        last = whole[max(first - student.features.look_back, 0) :]
        np.testing.assert_array_equal(functions.logits(*accesses, first), last)
        np.testing.assert_array_equal(reference_logits(student, *accesses, first), last)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(-300, 300)),
        max_size=12,
    )
)
def test_any_accesses_give_the_references_logits(compiled, accesses):
    student, functions = compiled
    pc = np.array([pc for pc, _, _ in accesses], np.uint64)
    near = np.cumsum([0] + [64 * delta for _, _, delta in accesses[1:]][: len(accesses)])
    address = np.array([a for _, a, _ in accesses[:1]] * len(accesses), np.uint64)
    address = address + near[: len(accesses)].astype(np.int64).view(np.uint64)
    np.testing.assert_array_equal(
        functions.logits(pc, address), reference_logits(student, pc, address)
    )


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_header_is_also_cxx(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    student = integers(4, **small_student.TABLES)
    (tmp_path / "student.h").write_text(c_header(student, "student"))
    source = (
        '#include "student.h"\n'
        "int main() {\n"
        "  student_state state;\n"
        "  uint8_t bitmap[STUDENT_BITS / 8];\n"
        "  student_reset(&state);\n"
        "  return student_access(&state, 1, 2, bitmap);\n"
        "}\n"
    )
    (tmp_path / "main.cc").write_text(source)
    command = [compiler, "-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "main.cc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0
    assert subprocess.run([tmp_path / "a.out"]).returncode == 0


def test_two_students_live_in_one_program(tmp_path):
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    for name in ("first", "second"):
        (tmp_path / f"{name}.h").write_text(c_header(integers(), name))
    (tmp_path / "main.c").write_text(
        '#include "first.h"\n#include "second.h"\n#include "first.h"\n'
        "int main(void) { return first_delta(0) - second_delta(0); }\n"
    )
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "main.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0


def test_the_header_says_what_it_holds():
    student = integers()
    text = c_header(student, "bfs")
    assert student.digest in text
    assert f"constants {student.size_bytes:,} bytes:\n *             embeddings " in text
    assert f"state     {student.features.state_bits} bits in hardware" in text
    assert "#define BFS_LOOK_BACK 3 " in text and "bfs_access(&state, pc, address, bitmap)" in text
    assert max(map(len, text.splitlines())) <= 100
    code = [line for line in text.splitlines() if line.startswith("#include")]
    assert code == ["#include <stdint.h>"]


@pytest.mark.parametrize("name", ["", "9lives", "a-b", "naïve", "a b", "_x"])
def test_prefixes_that_c_would_refuse_are_refused(name):
    with pytest.raises(ConfigError, match="expected a C identifier"):
        c_header(integers(), name)


def test_students_of_other_inputs_are_refused():
    student = quantize_student(small_student.float_student(clusters=2))[0]
    with pytest.raises(ConfigError, match="the student reads cluster, delta, offset, pc "):
        c_header(student, "student")


def test_warnings_of_the_compiler_are_told(compiled):
    with pytest.raises(RuntimeError, match="nonsense"):
        CompiledStudent(compiled[0], find_compiler(), ["-nonsense"])


def test_arrays_of_another_type_are_refused(compiled):
    with pytest.raises(TypeError, match="array of int64: expected contiguous u64"):
        compiled[1].logits(np.zeros(3, np.int64), np.zeros(3, np.uint64))
