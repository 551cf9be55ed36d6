"""Test vectors: accesses that reach every token, and the logits that must come of them."""

from __future__ import annotations

from string import Template

import numpy as np

from packd_jax.features import encode_inputs
from packd_jax.quantize.integer_student import IntegerStudent
from packd_jax.traces.load_trace import LoadTrace

ACCESSES = 1000

_PROGRAM = Template("""\
/* Test vectors of $header (student $digest).
 *
 *   cc -std=c11 -O2 THIS_FILE.c && ./a.out
 *
 * Each row is an access and the FNV-1a hash of the logits after it, as little-endian 32-bit
 * words; 0 until the window is full.
 */
#include <stdio.h>

#include "$header"

static const struct {
  uint64_t pc, address, hash;
} vectors[] = {
$rows
};

static uint64_t hash_of(const int32_t *logits) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (int bit = 0; bit < ${P}_BITS; bit++)
    for (int byte = 0; byte < 4; byte++)
      hash = (hash ^ ((uint32_t)logits[bit] >> (8 * byte) & 255)) * UINT64_C(0x100000001b3);
  return hash;
}

int main(void) {
  const int rows = (int)(sizeof vectors / sizeof vectors[0]);
  ${p}_state state;
  ${p}_reset(&state);
  for (int row = 0; row < rows; row++) {
    int32_t logits[${P}_BITS];
    uint64_t hash = 0;
    if (${p}_observe(&state, vectors[row].pc, vectors[row].address)) {
      ${p}_predict(&state, logits);
      hash = hash_of(logits);
    }
    if (hash != vectors[row].hash) {
      printf("access %d: other logits than the reference's\\n", row);
      return 1;
    }
  }
  printf("%d accesses agree\\n", rows);
  return 0;
}
""")


def vector_program(student: IntegerStudent, name: str, header: str, rows: int = ACCESSES) -> str:
    """A C program that includes `header` (exported as `name`) and compares it with the reference.

    It exits with 0 if `rows` varied accesses agree, else with 1 and the first that does not.
    """
    pc, address = varied_accesses(student, rows, seed=0)
    hashes = np.zeros(rows, np.uint64)
    logits = reference_logits(student, pc, address)
    hashes[rows - len(logits) :] = fnv1a(logits)
    lines = [
        f"    {{UINT64_C({p:#x}), UINT64_C({a:#x}), UINT64_C({h:#x})}},"
        for p, a, h in zip(pc.tolist(), address.tolist(), hashes.tolist())
    ]
    return _PROGRAM.substitute(
        header=header, digest=student.digest, rows="\n".join(lines), p=name, P=name.upper()
    )


def reference_logits(
    student: IntegerStudent, pc: np.ndarray, address: np.ndarray, first: int = 0
) -> np.ndarray:
    """The reference's logits at accesses u64[N] from `first` on with a full window, i32[n, D].

    All accesses before them fill the window and the tables.
    """
    nothing = np.zeros(len(pc), np.int64)
    trace = LoadTrace(nothing, nothing, address, pc, nothing.astype(np.bool_))
    rows = slice(max(first, student.features.look_back), len(pc))
    if rows.start >= rows.stop:
        return np.zeros((0, student.label_bits), np.int32)
    return student.logits(encode_inputs(trace, rows, student.features, student.pc_vocabulary))


def varied_accesses(student: IntegerStudent, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """PCs and addresses u64[rows]: both ends of every delta token, PCs known, near and any.

    Now and then a PC goes on by the same delta for a while, or the program comes back to a block.
    """
    rng = np.random.default_rng(seed)
    exact, octaves = student.features.delta_exact, student.features.delta_log_buckets
    edges = exact << np.arange(min(octaves, 50) + 1, dtype=np.int64)
    steps = np.concatenate([np.arange(exact + 1), edges, edges + 1, edges - 1])
    delta = rng.choice(steps, rows) * rng.choice([-1, 1], rows)
    # Every so often a jump to anywhere, and the two ends of the address space.
    block = rng.integers(0, 1 << 58, rows)
    block[rng.random(rows) < 0.02] = (1 << 58) - 1
    block[rng.random(rows) < 0.02] = 0
    steady = np.arange(rows) % 60 > 47
    started = np.arange(rows) // 60 * 60
    delta = np.where(steady, delta[started], delta)
    for row in np.flatnonzero((rng.random(rows) < 0.9) | steady):
        if row:
            block[row] = (block[row - 1] + delta[row]) % (1 << 58)
        if row > 40 and rng.random() < 0.1 and not steady[row]:
            block[row] = block[row - rng.integers(1, 40)]
    address = block.astype(np.uint64) << np.uint64(6) | rng.integers(0, 64, rows, np.uint64)
    pc = rng.integers(0, 1 << 64, rows, np.uint64)
    if len(student.pc_vocabulary):
        known = rng.choice(student.pc_vocabulary, rows)
        near = known + rng.integers(0, 3, rows, np.uint64) - np.uint64(1)
        kind = rng.random(rows)
        pc = np.where(kind < 0.6, known, np.where(kind < 0.9, near, pc))
    return np.where(steady, pc[started], pc), address


def fnv1a(logits: np.ndarray) -> np.ndarray:
    """The 64-bit FNV-1a hashes of the little-endian bytes of each row of i32[N, D], u64[N]."""
    data = np.ascontiguousarray(logits.astype("<i4")).view(np.uint8)
    hashes = np.full(len(data), 0xCBF29CE484222325, np.uint64)
    for byte in data.T:
        hashes = (hashes ^ byte) * np.uint64(0x100000001B3)
    return hashes
