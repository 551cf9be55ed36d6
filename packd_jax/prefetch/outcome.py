"""What a prefetcher did for a trace, in the terms of the ML data prefetching competition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

DEFINITIONS = """\
issued    prefetches sent to DRAM
useful    prefetched blocks that a load then hit in the LLC
useless   prefetched blocks that left the LLC unused
late      prefetched blocks that a load asked for before they came; such a load is a miss
accuracy  useful / (useful + useless)
coverage  useful / (LLC load misses + useful)
mpki      LLC load misses per 1,000 instructions; mpki_none: of the same LLC without prefetches
polluting load misses that the same LLC without prefetches would have hit
touches   prefetches of blocks that the LLC held: they renew the block's LRU position only
"""


@dataclass(frozen=True)
class Outcome:
    """Counts of the judged loads alone; `DEFINITIONS` says of what.

    Events count where they happen: a block prefetched before the judged loads and used by one
    of them is useful, as in ChampSim. Histograms count cycles: bin 0 counts 0, bin k from
    2**(k - 1) to below 2**k.
    """

    name: str
    bytes: int  # of the prefetcher's tables
    issued: int
    useful: int
    useless: int
    late: int
    accuracy: float  # 0 where there is nothing to divide by
    coverage: float
    mpki: float
    mpki_none: float
    est_cycles: int
    loads: int
    misses: int
    instructions: int
    polluting: int
    requested: int  # prefetches asked for; the next four and `issued` are what became of them
    touches: int
    merged: int  # the block was on its way
    queue_drops: int  # the prefetch queue was full
    page_drops: int  # no load of the trace is in the page
    unused_before: int  # prefetched blocks that no load had used when the judged loads began
    unused_after: int  # and when they ended
    timeliness: tuple[int, ...]  # useful prefetches by cycles between arrival and first use
    lateness: tuple[int, ...]  # late prefetches by cycles between the load and arrival

    def as_row(self) -> dict[str, Any]:
        """The fields as a JSON object, in their order."""
        return asdict(self)


def ratio(part: float, whole: float) -> float:
    """part / whole, 0 for nothing of nothing."""
    return part / whole if whole else 0.0
