"""What the columns of a CSV file mean, by the names in its header line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import numpy as np

from packd_jax.traces.load_trace import TraceError
from packd_jax.traces.text_lines import shown

# Names in lower case, blanks and dashes as underscores; of several the first is preferred.
NAMES = {
    "instr_id": ("instr_id", "instruction_id", "inst_id", "unique_instr_id", "icount", "id"),
    "cycle": ("cycle", "cycles", "cycle_count", "timestamp", "time", "tick"),
    "address": ("address", "addr", "vaddr", "virtual_address", "paddr", "physical_address")
    + ("load_address", "data_address", "memory_address", "mem_addr", "effective_address", "ea"),
    "pc": ("pc", "ip", "program_counter", "instruction_pointer", "load_pc", "load_ip", "rip"),
    "hit": ("hit", "llc_hit", "cache_hit", "is_hit", "hit_miss"),
    "is_store": ("is_store", "is_write", "store", "write", "type", "access_type", "rw", "op"),
}
FIELDS = tuple(NAMES)
ID, CYCLE, ADDRESS, PC, HIT, STORE = range(len(FIELDS))
IGNORED = -1
_BLANKS, _BOM = b" \t\r\n", b"\xef\xbb\xbf"


def is_csv(head: bytes) -> bool:
    """Whether the header at the beginning of a file names an address column, and others."""
    names = _names(header_line(head) or b"")
    return len(names) > 1 and any(name in NAMES["address"] for name in names)


def header_line(head: bytes) -> bytes | None:
    """The first line that is not blank; None if it has not ended yet."""
    line, newline, _ = head.lstrip(_BLANKS).partition(b"\n")
    return line.removeprefix(_BOM) if newline else None


def column_kinds(header: bytes, columns: Mapping[str, str], path: str | os.PathLike) -> np.ndarray:
    """What each column is, i64[columns]: an index in FIELDS, or IGNORED.

    `columns` maps our names to those of the header, as `csv_loads.read_csv` says. Raises
    TraceError for a name that is not there or there twice, and without address or pc.
    """
    names, given = _names(header), shown(header.strip())
    kinds = np.full(len(names), IGNORED, np.int64)
    for field in columns:
        if field not in FIELDS:
            raise TraceError(path, "columns", f"{field!r}", f"names out of {', '.join(FIELDS)}")
    for kind, field in enumerate(FIELDS):
        usual = NAMES[field] if field not in columns else tuple(_names(columns[field].encode()))
        found = [name for name in usual if name and name in names]
        if found:
            if names.count(found[0]) > 1:
                raise TraceError(path, "header", given, f"one column {found[0]!r}")
            kinds[names.index(found[0])] = kind
        elif columns.get(field) or kind in (ADDRESS, PC):
            wanted = columns.get(field) or " or ".join(usual[:3])
            expected = f"a column {wanted}; name that of {field}: --columns={field}=NAME"
            raise TraceError(path, "header", given, expected)
    return kinds


def _names(header: bytes) -> list[str]:
    fields = header.decode("utf-8", "replace").split(",")
    return [re.sub(r"[\s-]+", "_", field.strip().strip('"').strip().lower()) for field in fields]
