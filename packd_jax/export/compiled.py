"""Headers compiled and called from here: what tests compare and benchmarks time."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from packd_jax.export.c_header import c_header
from packd_jax.quantize.integer_student import IntegerStudent

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")

_CALLER = Template("""\
#include "$p.h"

int64_t all_logits(const uint64_t *pc, const uint64_t *address, int64_t first, int64_t rows,
                   int32_t *logits);
void all_bitmaps(const uint64_t *pc, const uint64_t *address, int64_t rows, uint8_t *bitmap);

int64_t all_logits(const uint64_t *pc, const uint64_t *address, int64_t first, int64_t rows,
                   int32_t *logits) {
  int64_t full = 0;
  ${p}_state state;
  ${p}_reset(&state);
  for (int64_t row = 0; row < rows; row++)
    if (${p}_observe(&state, pc[row], address[row]) && row >= first)
      ${p}_predict(&state, logits + ${P}_BITS * full++);
  return full;
}

void all_bitmaps(const uint64_t *pc, const uint64_t *address, int64_t rows, uint8_t *bitmap) {
  ${p}_state state;
  ${p}_reset(&state);
  for (int64_t row = 0; row < rows; row++)
    ${p}_access(&state, pc[row], address[row], bitmap + row * (${P}_BITS / 8));
}
""")


def find_compiler(names: Sequence[str] = ("cc", "gcc", "clang")) -> str | None:
    """The C compiler of the environment variable CC, or the first of `names` that is here."""
    asked = [os.environ["CC"]] if os.environ.get("CC") else []
    return next((found for name in [*asked, *names] if (found := shutil.which(name))), None)


class CompiledStudent:
    """The header of a student, compiled with every warning an error, as two functions.

    Raises RuntimeError with the compiler's own words if it refuses.
    """

    def __init__(
        self, student: IntegerStudent, compiler: str, options: Sequence[str] = ("-O2",)
    ) -> None:
        self._look_back, self._bits = student.features.look_back, student.label_bits
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "student.h").write_text(c_header(student, "student"))
            (folder / "student.c").write_text(_CALLER.substitute(p="student", P="STUDENT"))
            command = [compiler, *STRICT, *options, "-shared", "-fPIC", "-o", "student.so"]
            done = subprocess.run(
                [*command, "student.c"], cwd=folder, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
            self._library = ctypes.CDLL(str(folder / "student.so"))
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._library.all_logits.argtypes = [pointer, pointer, count, count, pointer]
        self._library.all_bitmaps.argtypes = [pointer, pointer, count, pointer]
        self._library.all_logits.restype = count
        self._library.all_bitmaps.restype = None

    def logits(self, pc: np.ndarray, address: np.ndarray, first: int = 0) -> np.ndarray:
        """The logits at accesses u64[N] from `first` on with a full window, i32[n, D].

        All accesses before them fill the window and the tables.
        """
        count = max(len(pc) - max(first, self._look_back), 0)
        logits = np.empty((count, self._bits), np.int32)
        pointers = _pointers(pc, address)
        full = self._library.all_logits(*pointers, first, len(pc), logits.ctypes.data)
        if full != len(logits):
            raise RuntimeError(f"{full} windows of {len(pc)} accesses; expected {len(logits)}")
        return logits

    def bitmaps(self, pc: np.ndarray, address: np.ndarray) -> np.ndarray:
        """The bitmap at every access u64[N], packed u8[N, D/8]; empty before a full window."""
        bitmaps = np.empty((len(pc), self._bits // 8), np.uint8)
        self._library.all_bitmaps(*_pointers(pc, address), len(pc), bitmaps.ctypes.data)
        return bitmaps


def _pointers(*arrays: np.ndarray) -> list[int]:
    for array in arrays:
        if array.dtype != np.uint64 or not array.flags.c_contiguous:
            raise TypeError(f"array of {array.dtype}: expected contiguous u64")
    return [array.ctypes.data for array in arrays]
