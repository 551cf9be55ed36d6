"""The machine whose last-level cache prefetches fill: sizes, latencies and how they add up."""

from __future__ import annotations

from dataclasses import dataclass

from packd_jax.config import CacheLevelConfig
from packd_jax.config.checks import require


@dataclass(frozen=True)
class Machine:
    """One core, its LLC and miss registers, and one channel of DRAM; times in core cycles.

    The defaults are the ML-DPC ChampSim's (4 GHz, L1D 48 KB, L2 512 KB, LLC 2 MB) but for three
    numbers that stand for what a load trace does not tell, and were fitted to what that simulator
    says of two programs, five prefetchers each: `instruction_cycles`, `window_instructions` and
    `transfer_cycles`.

    **Core.** Interval analysis (Eyerman, Eeckhout, Karkhanis and Smith, "A Mechanistic Performance
    Model for Superscalar Out-of-Order Processors", ACM TOCS 2009): time is that of the
    instructions, plus what loads make the core wait, where loads that overlap make it wait once.
    Loads overlap in groups: all within `window_instructions` after a group's first one. Each
    leaves when it is fetched, `issue_width` instructions a cycle; the next group's first one
    leaves when all blocks are there and the instructions between are done. The window is far
    smaller than the 352 instructions that the real core holds, since branches and addresses that
    depend on a load end it.

    **DRAM** (ChampSim's `MEMORY_CONTROLLER`): blocks go to the banks in turn. A bank serves one
    block at a time, in `row_hit_cycles` (tCAS, 12.5 ns) if its row is open, else in
    `row_miss_cycles` (tRP + tRCD + tCAS, 37.5 ns); then the bus carries it. Loads and prefetches
    are served first come, first served. The bare bus takes 10 cycles a block (3,200 MT/s of
    8 bytes); 24 leave room for stores and write-backs, which are not in a load trace.
    """

    llc: CacheLevelConfig = CacheLevelConfig(2 * 1024 * 1024, 16, 20)
    upper_cycles: int = 15  # that L1D and L2 add to the wait for a load of the LLC
    row_hit_cycles: int = 50
    row_miss_cycles: int = 150
    transfer_cycles: int = 24
    banks: int = 8
    row_blocks: int = 128  # blocks of a bank's row
    miss_registers: int = 64  # blocks on their way from DRAM, loads and prefetches together
    prefetch_queue: int = 32  # prefetches that wait for a register; others are dropped
    degree: int = 2  # prefetches a load, at most
    inference_cycles: int = 0  # from a load until its prefetches are known; one load a cycle
    instruction_cycles: float = 1.6
    window_instructions: int = 32
    issue_width: int = 4
    only_mapped_pages: bool = True  # drop prefetches of 4 KiB pages that the trace never loads

    def __post_init__(self) -> None:
        for name in ("banks", "row_blocks"):
            size = getattr(self, name)
            require(size > 0 and size & (size - 1) == 0, f"machine.{name}", size, "a power of two")
        for name in ("miss_registers", "degree", "transfer_cycles", "issue_width"):
            value = getattr(self, name)
            require(value >= 1, f"machine.{name}", value, "at least 1")
        for name in (
            *("upper_cycles", "prefetch_queue", "inference_cycles"),
            *("instruction_cycles", "window_instructions"),
        ):
            value = getattr(self, name)
            require(value >= 0, f"machine.{name}", value, "0 or more")
        require(
            0 <= self.row_hit_cycles <= self.row_miss_cycles,
            "machine.row_hit_cycles",
            self.row_hit_cycles,
            f"0 to row_miss_cycles = {self.row_miss_cycles}",
        )
        require(
            self.inference_cycles <= 1_000_000,
            "machine.inference_cycles",
            self.inference_cycles,
            "1,000,000 at most",
        )

    @property
    def sets(self) -> int:
        return self.llc.size_bytes // (64 * self.llc.ways)


ML_DPC = Machine()
