"""Reading all accesses of a program in every format, and filtering them to LLC loads; one core."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np

from packd_jax.benchmarks.scales import Scale
from packd_jax.benchmarks.timing import Line, make_line, repeat
from packd_jax.traces.accesses import Accesses
from packd_jax.traces.byte_source import byte_chunks
from packd_jax.traces.cache import CacheFilter
from packd_jax.traces.champsim import LAYOUTS
from packd_jax.traces.read_trace import FORMATS

_GAP = 3  # instructions an access, as compiled programs have


def access_readers(scale: Scale, repeats: int) -> Iterator[Line]:
    """The formats of all accesses, uncompressed in memory, and the cache filter after them."""
    program = strided_program(scale.trace_rows)
    for name, make in CONTENTS.items():
        contents, items, unit = make(program)

        def read(name: str = name, contents: bytes = contents) -> None:
            chunks = byte_chunks(io.BufferedReader(io.BytesIO(contents)), name)
            rows = sum(chunk.rows for chunk in FORMATS[name].read(chunks, name))
            assert rows == program.rows

        yield make_line(f"access_readers {name}", f"{unit}/s", items / repeat(read, repeats))
    seconds = repeat(lambda: CacheFilter(scale.workload.cache)(program), repeats)
    yield make_line(
        "access_readers cache filter, mostly hits", "accesses/s", program.rows / seconds
    )


def strided_program(rows: int) -> Accesses:
    """Loops over short arrays, and a few accesses anywhere: nine tenths hit L1D; 64 PCs."""
    rng = np.random.default_rng(0)
    row = np.arange(rows, dtype=np.uint64)
    far = rng.random(rows) < 0.1
    address = np.where(
        far, rng.integers(0, 1 << 24, rows, np.uint64) * np.uint64(8), row % 4096 * 8
    )
    return Accesses(
        address=address.astype(np.uint64) + np.uint64(0x4000000),
        pc=np.uint64(0x401000) + rng.integers(0, 64, rows, np.uint64) * np.uint64(4),
        is_store=rng.random(rows) < 0.25,
        instr_id=_GAP * np.arange(1, rows + 1),
    )


def _lackey(program: Accesses) -> tuple[bytes, int, str]:
    filler = "I  00400000,4\n" * (_GAP - 1)
    kinds = np.where(program.is_store, "S", "L")
    columns = (program.pc.tolist(), kinds.tolist(), program.address.tolist())
    text = "".join(f"{filler}I  {p:08x},4\n {k} {a:08x},8\n" for p, k, a in zip(*columns))
    return text.encode(), (_GAP + 1) * program.rows, "lines"


def _dynamorio(program: Accesses) -> tuple[bytes, int, str]:
    lines, record = [], 0
    words = np.where(program.is_store, "write", "read")
    columns = (program.pc.tolist(), words.tolist(), program.address.tolist())
    for instruction, (pc, word, address) in enumerate(zip(*columns), 1):
        fetch, place = "ifetch       4 byte(s) @ 0x", f"{instruction:12d}: W0.T3342"
        record += 2
        lines.append(f"{record - 1:12d}{place} {fetch}{pc:016x} 8b 04 24 90 mov (%rsp) -> %eax\n")
        access = f"{word:12} 8 byte(s) @ 0x{address:016x} by PC 0x{pc:016x}\n"
        lines.append(f"{record:12d}{place} {access}")
    return "".join(lines).encode(), record, "lines"


def _csv(program: Accesses) -> tuple[bytes, int, str]:
    kinds = np.where(program.is_store, "S", "L")
    columns = (program.instr_id, program.pc, program.address)
    rows = zip(*(column.tolist() for column in columns), kinds.tolist())
    lines = (f"{i},0x{p:x},0x{a:x},{kind}\n" for i, p, a, kind in rows)
    return ("instr_id,pc,address,type\n" + "".join(lines)).encode(), program.rows, "lines"


def _champsim(program: Accesses, size: int = 64) -> tuple[bytes, int, str]:
    layout = LAYOUTS[size]
    records = np.zeros((program.rows, layout.words), np.uint64)
    records[:, 0] = program.pc
    slots = np.where(program.is_store, layout.stores_at, layout.loads_at)
    records[np.arange(program.rows), slots] = program.address
    return records.tobytes(), program.rows, "records"


CONTENTS: dict[str, Callable[[Accesses], tuple[bytes, int, str]]] = {
    "lackey": _lackey,
    "dynamorio": _dynamorio,
    "csv": _csv,
    "champsim64": _champsim,
}
