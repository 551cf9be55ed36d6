import shutil
import subprocess

import pytest
import small_student

from packd_jax.export import c_header, find_compiler
from packd_jax.export.c_state import state_text
from packd_jax.quantize import quantize_student

NAMES = {"p": "bfs", "P": "BFS"}
WORDS = {
    "local_deltas": ("last_loads", "entry->local"),
    "local_confidence": ("confidence",),
    "popularity_entries": ("popularity", "period"),
}


def integers(**features):
    return quantize_student(small_student.float_student(**features))[0]


@pytest.mark.parametrize(
    "features",
    [{}, {"popularity_entries": 16}, {"local_deltas": 2}, small_student.TABLES],
    ids=lambda features: ", ".join(features) or "none",
)
def test_a_state_has_the_tables_that_its_student_reads(features):
    text = state_text(integers(**features), NAMES)
    for switch, words in WORDS.items():
        assert [word in text for word in words] == [switch in features] * len(words)


PROGRAM = """\
#include <string.h>
#include "bfs.h"

static void observe(bfs_state *state) {
  for (uint64_t i = 0; i < 100; i++) bfs_observe(state, 1024 + i % 3 * 4, i * i << 6);
}

int main(void) {
  static bfs_state once, twice;
  memset(&twice, 255, sizeof twice);
  bfs_reset(&once);
  bfs_reset(&twice);
  observe(&once);
  const int filled = memcmp(&once, &twice, sizeof once) != 0;
  observe(&twice);
  const int equal = memcmp(&once, &twice, sizeof once) == 0;
  bfs_reset(&once);
  observe(&once);
  return !(filled && equal && memcmp(&once, &twice, sizeof once) == 0);
}
"""


def test_a_state_that_is_reset_forgets_all(tmp_path):
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH)")
    (tmp_path / "bfs.h").write_text(c_header(integers(**small_student.TABLES), "bfs"))
    (tmp_path / "main.c").write_text(PROGRAM)
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run([*command, "main.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 0
    assert subprocess.run([tmp_path / "a.out"]).returncode == 0


def test_nothing_of_libc_but_what_compilers_put_there(tmp_path):
    """Memory may be set and copied by calls that compilers make of loops; nothing else is."""
    compiler = find_compiler()
    if compiler is None or shutil.which("nm") is None:
        pytest.skip("no C compiler here (gcc, clang, or CC=PATH), or no nm")
    (tmp_path / "bfs.h").write_text(c_header(integers(**small_student.TABLES), "bfs"))
    (tmp_path / "use.c").write_text(
        '#include "bfs.h"\n'
        "int use(bfs_state *state, uint64_t pc, uint64_t address, uint8_t *bitmap) {\n"
        "  if (!pc) bfs_reset(state);\n"
        "  return bfs_access(state, pc, address, bitmap);\n"
        "}\n"
    )
    command = [compiler, "-std=c11", "-O2", "-ffreestanding", "-fno-stack-protector", "-c", "use.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = subprocess.run(
        ["nm", "-u", "use.o"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    undefined = {line.split()[-1].lstrip("_") for line in found.stdout.splitlines()}
    assert undefined <= {"memcpy", "memset", "memmove"}
