import dataclasses

import pytest
import small_student
import small_study

from packd_jax.export import CompiledStudent, find_compiler, verify
from packd_jax.quantize import quantize_student


@pytest.fixture(scope="module")
def compiled():
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    student = quantize_student(small_student.float_student(**small_student.TABLES))[0]
    return student, CompiledStudent(student, compiler)


@pytest.mark.parametrize(("rows", "windows"), [(200, 197), (11_000, 10_000)])
def test_a_header_agrees_with_its_student(compiled, rows, windows):
    found = verify(*compiled, small_study.trace(rows))
    assert (found.windows, found.different) == (windows, 0)
    assert found.ns_per_access > 0


def test_windows_that_differ_are_counted(compiled):
    student, functions = compiled
    values = {table.name: table.values.copy() for table in student.tables}
    values["delta"][0] += 1  # of the token of delta 0, which every window ends with
    tables = tuple(table._replace(values=values[table.name]) for table in student.tables)
    other = dataclasses.replace(student, tables=tables)
    found = verify(other, functions, small_study.trace(200))
    assert found.windows == 197 and found.different > 100
