"""What an exported header does on real traces: whether it agrees, and how long it takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from packd_jax.config import ConfigError
from packd_jax.example_source import in_memory
from packd_jax.export.compiled import CompiledStudent, find_compiler
from packd_jax.export.vectors import reference_logits
from packd_jax.quantize import IntegerStudent, QuantizedCheckpoint, float_f1, integer_f1
from packd_jax.traces.load_trace import LoadTrace

WINDOWS = 10_000
TIMED = 200_000  # accesses
REPEATS = 7


class Verification(NamedTuple):
    """A compiled header beside the integer reference, on the end of one trace."""

    windows: int
    different: int  # windows of which any logit differs
    ns_per_access: float  # median of some repetitions; tokens, state and bitmap included


def verify(student: IntegerStudent, compiled: CompiledStudent, trace: LoadTrace) -> Verification:
    """Compares the last WINDOWS windows of a trace, and times its last TIMED accesses.

    Both see the trace from its first load on.
    """
    pc, address = np.ascontiguousarray(trace.pc), np.ascontiguousarray(trace.address)
    first = max(len(pc) - WINDOWS, 0)
    expected = reference_logits(student, pc, address, first)
    different = (compiled.logits(pc, address, first) != expected).any(axis=1)
    pc, address = pc[-TIMED:], address[-TIMED:]
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        compiled.bitmaps(pc, address)
        seconds.append(time.perf_counter() - started)
    each = 1e9 * float(np.median(seconds)) / len(pc)
    return Verification(len(expected), int(different.sum()), each)


def verification(quantized: QuantizedCheckpoint) -> str:
    """Test F1 of integers and floats, and what `verify` finds on each trace of the study, as text.

    Raises ConfigError without a C compiler, or without the traces.
    """
    compiler = find_compiler()
    if compiler is None:
        raise ConfigError("no C compiler: install gcc or clang, or name one by CC=PATH")
    if quantized.rows is None:
        raise ConfigError("the study's traces are not here: name them by --trace=FILE")
    integers, (sources, splits) = quantized.integers, quantized.rows
    validation, test = (in_memory(s.examples) for s in (splits.validation, splits.test))
    floats = float_f1(quantized.floats, validation, test)
    lines = [f"test F1 {integer_f1(integers, test):.4f} in integers, {floats:.4f} in floats"]
    compiled = CompiledStudent(integers, compiler)
    for source in sources:
        found = verify(integers, compiled, source.trace)
        lines.append(
            f"{source.path}: {found.different} of {found.windows:,} windows differ,"
            f" {found.ns_per_access:.0f} ns an access ({Path(compiler).name} -O2)"
        )
    return "\n".join(lines)
