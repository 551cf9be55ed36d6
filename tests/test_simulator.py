"""The simulator against a reference in plain Python, on hand-worked streams, and on real traces."""

from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packd_jax.config import CacheLevelConfig
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.outcome import Outcome
from packd_jax.prefetch.prefetcher import no_prefetcher, precomputed
from packd_jax.prefetch.simulator import simulate
from packd_jax.traces.load_trace import LoadTrace
from packd_jax.traces.read_trace import read_trace

SHARED_TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
SMALL = CacheLevelConfig(64 * 2 * 4, 2, 20)  # 4 sets x 2 ways
CONTRACT = (
    *("name", "bytes", "issued", "useful", "useless", "late"),
    *("accuracy", "coverage", "mpki", "mpki_none", "est_cycles"),
)
EVENTS = (
    *("loads", "misses", "polluting", "issued", "useful", "useless", "late"),
    *("requested", "touches", "merged", "queue_drops", "page_drops"),
)
# A load costs 20 cycles in the LLC; DRAM adds 100 and one cycle on the bus. Nothing overlaps.
PLAIN = Machine(
    llc=SMALL,
    upper_cycles=0,
    row_hit_cycles=100,
    row_miss_cycles=100,
    transfer_cycles=1,
    instruction_cycles=1.0,
    window_instructions=0,
    only_mapped_pages=False,
)
HIT, MISS = 20, 121


def trace_of(blocks, instr_id=None):
    blocks = np.asarray(blocks, np.uint64)
    ids = np.arange(1, len(blocks) + 1) if instr_id is None else np.asarray(instr_id)
    columns = ids.astype(np.int64), ids.astype(np.int64), blocks << np.uint64(6), blocks
    return LoadTrace(*columns, np.zeros(len(blocks), bool))


def run(blocks, prefetches, machine=PLAIN, instr_id=None, from_instr=0):
    """`prefetches` holds for some rows the blocks prefetched there."""
    table = np.full((len(blocks), 3), -1, np.int64)
    for row, chosen in prefetches.items():
        table[row, : len(chosen)] = chosen
    trace = trace_of(blocks, instr_id)
    return simulate(trace, precomputed("some", table, 12), machine, from_instr)


def test_a_useful_prefetch_is_a_hit_and_saves_its_wait():
    outcome = run([8, 40], {0: [40]}, instr_id=[1, 1001])
    assert (outcome.issued, outcome.useful, outcome.useless, outcome.late) == (1, 1, 0, 0)
    assert (outcome.misses, outcome.loads, outcome.instructions) == (1, 2, 1001)
    assert (outcome.accuracy, outcome.coverage) == (1.0, 0.5)
    assert outcome.mpki == pytest.approx(1000 / 1001)
    assert outcome.mpki_none == pytest.approx(2000 / 1001)
    assert outcome.est_cycles == 1001 + MISS + HIT
    # Both blocks are of one bank: 40 came in cycle 221, and was used in 1,121. Bin 10: 512-1023.
    assert outcome.timeliness[10] == 1 and sum(outcome.timeliness) == 1
    assert outcome.bytes == 2 and outcome.name == "some"


def test_time_is_instructions_and_waits():
    assert run([8, 40, 72], {}, instr_id=[1, 2, 3]).est_cycles == 3 + 3 * MISS
    assert run([8, 8, 8], {}, instr_id=[1, 2, 3]).est_cycles == 3 + MISS + 2 * HIT
    slower = replace(PLAIN, instruction_cycles=2.5, upper_cycles=7)
    assert run([8, 40], {}, slower, [1, 20]).est_cycles == 50 + 2 * (MISS + 7)


def test_loads_of_a_group_overlap():
    ids, blocks = [1, 5, 9, 13], [0, 1, 2, 3]  # different banks
    wide = replace(PLAIN, window_instructions=100, issue_width=4)
    assert run(blocks, {}, wide, ids).est_cycles == 13 + 3 + MISS  # the last is 3 cycles behind
    # The first two, then the other two.
    some = replace(wide, window_instructions=6)
    assert run(blocks, {}, some, ids).est_cycles == 13 + 2 * (1 + MISS)
    assert run(blocks, {}, replace(some, issue_width=1), ids).est_cycles == 13 + 2 * (4 + MISS)


def test_ids_that_step_back_take_no_time():
    stepping, forward = [1, 50, 20, 50, 60], [1, 50, 50, 50, 60]
    for machine in (PLAIN, replace(PLAIN, window_instructions=30)):
        outcomes = [run([1, 2, 3, 4, 5], {}, machine, ids) for ids in (stepping, forward)]
        assert outcomes[0] == outcomes[1]


def test_a_late_prefetch_is_a_miss_that_waits_for_the_rest():
    prefetched = run([8, 41, 0], {0: [41]}, instr_id=[1, 2, 3])
    assert (prefetched.late, prefetched.useful, prefetched.misses) == (0, 1, 2)
    wide = replace(PLAIN, window_instructions=30)
    late = run([8, 41, 0], {0: [41]}, wide, [1, 21, 300])
    assert (late.issued, late.late, late.useful, late.useless, late.misses) == (1, 1, 0, 0, 3)
    assert late.accuracy == late.coverage == 0.0
    # Asked for in cycle 0, there in 121; its load came in cycle 5. Bin 7: 64 to 127.
    assert late.lateness[7] == 1 and sum(late.lateness) == 1
    assert late.est_cycles == 300 + 2 * MISS
    # Once there, the block is as any other that a load brought.
    again = run([8, 41, 41], {0: [41]}, wide, [1, 21, 300])
    assert (again.misses, again.useful, again.late) == (2, 0, 1)


def test_useless_prefetches_and_what_they_evict():
    # Blocks 0, 4, 8, 12 share a set of two ways; prefetching 8 and 12 evicts 0 and 4.
    outcome = run([0, 4, 4, 0, 4], {2: [8, 12]}, instr_id=[1, 1001, 2001, 3001, 4001])
    assert (outcome.misses, outcome.polluting) == (4, 2)
    assert outcome.mpki_none == pytest.approx(2000 / 4001)
    assert (outcome.issued, outcome.useful, outcome.useless) == (2, 0, 1)
    # 12 would go when block 4 came back, which is after the last load.
    assert outcome.unused_after == 1 and outcome.accuracy == 0.0


def test_a_touch_keeps_a_block_at_no_cost_in_dram():
    ids = [1, 1001, 2001, 3001, 4001]
    plain = run([4, 8, 5, 12, 4], {}, instr_id=ids)
    kept = run([4, 8, 5, 12, 4], {2: [4]}, instr_id=ids)  # 4 renewed: 12 evicts 8 instead
    assert (plain.misses, kept.misses) == (5, 4)
    assert (kept.touches, kept.issued, kept.useful, kept.requested) == (1, 0, 0, 1)


def test_a_prefetch_of_a_block_on_its_way_merges():
    outcome = run([8, 9], {0: [8, 1], 1: [1]}, replace(PLAIN, window_instructions=9))
    assert (outcome.requested, outcome.merged, outcome.issued) == (3, 1, 1)  # the third: too late


def test_inference_delays_prefetches():
    outcomes = [
        run([8, 9, 41], {0: [41]}, replace(PLAIN, inference_cycles=cycles), [1, 301, 1001])
        for cycles in (0, 100, 1200, 5000)  # the last load comes in cycle 1,242
    ]
    assert [o.useful for o in outcomes] == [1, 1, 0, 0]
    assert [o.late for o in outcomes] == [0, 0, 1, 0]
    assert [o.issued for o in outcomes] == [1, 1, 1, 0]


def test_at_most_degree_prefetches_a_load():
    chosen = {0: [0, 40, 41], 1: [-1, 50, 51]}
    for degree, issued in ((1, 2), (2, 4), (3, 4)):
        outcome = run([8, 9, 10], chosen, replace(PLAIN, degree=degree), [1, 1001, 2001])
        assert outcome.issued == outcome.requested == issued


@pytest.mark.parametrize("queue, drops", [(0, 2), (1, 1), (2, 0)])
def test_registers_and_the_queue_are_limits(queue, drops):
    chosen = {row: [100 + 2 * row, 101 + 2 * row] for row in range(4)}
    few = replace(PLAIN, window_instructions=100, miss_registers=5, prefetch_queue=queue)
    # Five blocks are on their way when row 2's load comes, and one prefetch had no register: the
    # load waits until 121. The same happens to a prefetch of row 3.
    outcome = run([0, 1, 2, 3, 4], chosen, few, [1, 2, 3, 4, 5000])
    assert (outcome.requested, outcome.issued, outcome.queue_drops) == (8, 8 - drops, drops)
    assert outcome.est_cycles == 5000 + 2 * MISS + MISS


def test_loads_wait_for_a_register():
    one = replace(PLAIN, window_instructions=100, miss_registers=1)
    assert run([0, 1, 2], {}, one, [1, 2, 3]).est_cycles == 3 + 3 * MISS


def test_rows_banks_and_the_bus_take_their_time():
    machine = replace(PLAIN, row_hit_cycles=50, row_miss_cycles=150, banks=2, row_blocks=4)
    for block, wait in ((4, 71), (8, 171), (1, 171)):  # same row, next row, the other bank's first
        outcome = run([0, 2, block], {}, machine, [1, 1001, 2001])
        assert outcome.est_cycles == 2001 + 171 + 71 + wait
    # Three prefetches, two of them in other rows, hold up a bank before a load's turn comes.
    ahead = replace(machine, degree=3, window_instructions=9, transfer_cycles=10)
    outcome = run([0, 2, 4, 10], {2: [6, 8, 16]}, ahead, [1, 1001, 2001, 2002])
    assert outcome.est_cycles == 2002 + 180 + 80 + (20 + 50 + 50 + 3 * 150 + 10)
    # Four banks at once, and one bus.
    slow = replace(PLAIN, window_instructions=9, transfer_cycles=40)
    assert run([0, 1, 2, 3], {}, slow, [1, 2, 3, 4]).est_cycles == 4 + 20 + 4 * 40


def test_prefetches_of_unmapped_pages_are_dropped():
    machine = replace(PLAIN, only_mapped_pages=True)
    outcome = run([64, 128, 70], {0: [65, 200], 1: [130]}, machine, [1, 1001, 2001])
    assert (outcome.page_drops, outcome.issued) == (1, 2)


def test_warm_up_is_in_no_count():
    chosen = {0: [40], 1: [41], 3: [42]}
    ids = [1, 1001, 2001, 3001, 4001]
    blocks = [8, 9, 40, 13, 42]
    judged = run(blocks, chosen, instr_id=ids, from_instr=2001)
    # The prefetch of 41 reaches the LLC with the first of these loads, and so counts.
    assert (judged.loads, judged.misses, judged.issued, judged.useful) == (3, 1, 2, 2)
    assert judged.instructions == 2001 and judged.est_cycles == 2001 + 2 * HIT + MISS
    # Block 40 was prefetched before, and used now; 41 is there, unused.
    assert (judged.unused_before, judged.unused_after) == (1, 1)
    assert sum(judged.timeliness) == 2


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="from_instr = 9: expected at most 2, the last load's"):
        run([1, 2], {}, from_instr=9)
    with pytest.raises(ValueError, match="expected at most -1"):
        simulate(trace_of([]), no_prefetcher())
    table = precomputed("some", np.zeros((3, 2), np.int64), 0)
    with pytest.raises(ValueError, match="some: prefetches for 3 loads; expected a row for each"):
        simulate(trace_of([1, 2]), table)
    with pytest.raises(ValueError, match=r"blocks: float64\[3, 2\]; expected integers"):
        precomputed("some", np.zeros((3, 2)), 0)


def test_a_row_of_results_begins_with_the_contract():
    row = run([1, 2], {}).as_row()
    assert tuple(row)[: len(CONTRACT)] == CONTRACT
    assert set(row) == set(Outcome.__dataclass_fields__)


def reference(blocks, prefetches, machine):
    """Counts of an LLC into which every block comes before the next load."""
    sets, ways = machine.sets, machine.llc.ways
    lines = [OrderedDict() for _ in range(sets)]  # block: whether prefetched and unused
    alone = [OrderedDict() for _ in range(sets)]
    count = Counter()

    def bring(cache, block, unused):
        ways_of = cache[block % sets]
        dropped = ways_of.popitem(last=False)[1] if len(ways_of) == ways else False
        ways_of[block] = unused
        return dropped

    for block, chosen in zip(blocks, prefetches):
        mine, others = lines[block % sets], alone[block % sets]
        hit_alone, coming = block in others, []
        if hit_alone:
            others.move_to_end(block)
        else:
            bring(alone, block, False)
        if block in mine:
            count["useful"] += mine[block]
            mine[block] = False
            mine.move_to_end(block)
        else:
            count["misses"] += 1
            count["polluting"] += hit_alone
            coming.append(block)
        for wanted in chosen:
            count["requested"] += 1
            if wanted in lines[wanted % sets]:
                count["touches"] += 1
                lines[wanted % sets].move_to_end(wanted)
            elif wanted in coming:
                count["merged"] += 1
            else:
                count["issued"] += 1
                coming.append(wanted)
        for arrived in coming:
            count["useless"] += bring(lines, arrived, arrived != block)
    return count


ROWS = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(1, 30), max_size=3)), min_size=1, max_size=60
)


@settings(max_examples=80)
@given(ROWS)
def test_counts_are_those_of_a_reference(rows):
    """One bank serves in order, and between two loads there is time for all."""
    machine = replace(PLAIN, banks=1, degree=3)
    blocks, prefetches = zip(*rows)
    # One load more, of a block that nothing else has, lets the last prefetches happen.
    ids = 5000 * np.arange(len(rows) + 1)
    counted = run([*blocks, 999], dict(enumerate(prefetches)), machine, ids)
    expected = reference([*blocks, 999], [*prefetches, []], machine)
    # The last block comes after the end, and evicts nothing that counts.
    expected["useless"] = reference(blocks, prefetches, machine)["useless"]
    for name in ("requested", "issued", "touches", "merged", "useful", "misses", "polluting"):
        assert getattr(counted, name) == expected[name], name
    assert counted.useless == expected["useless"] and counted.late == counted.queue_drops == 0


MACHINES = st.builds(
    lambda **fields: replace(PLAIN, **fields),
    miss_registers=st.integers(1, 5),
    prefetch_queue=st.integers(0, 3),
    inference_cycles=st.sampled_from([0, 3, 200]),
    window_instructions=st.sampled_from([0, 5, 50]),
    instruction_cycles=st.sampled_from([0.0, 0.3, 2.0]),
    row_miss_cycles=st.sampled_from([100, 250]),
    banks=st.sampled_from([1, 4]),
    transfer_cycles=st.sampled_from([1, 30]),
)


@settings(max_examples=80)
@given(ROWS, MACHINES, st.lists(st.integers(-20, 40), min_size=60, max_size=60), st.data())
def test_what_happened_does_not_depend_on_what_comes(rows, machine, steps, data):
    """Counts and cycles of a whole are those of its beginning and those judged after it."""
    blocks, prefetches = zip(*rows)
    ids = 100 + np.maximum(np.cumsum(steps[: len(rows)]), 0)
    chosen = dict(enumerate(prefetches))
    whole = run(blocks, chosen, machine, ids)
    assert whole == run(blocks, chosen, machine, ids)
    asked = whole.touches + whole.merged + whole.issued + whole.queue_drops
    assert whole.requested >= asked and whole.misses >= whole.late
    assert whole.issued == whole.useful + whole.useless + whole.late + whole.unused_after
    assert sum(whole.timeliness) == whole.useful and sum(whole.lateness) == whole.late
    from_instr = data.draw(st.integers(0, int(ids.max())))
    first = int(np.argmax(np.maximum.accumulate(ids) >= from_instr))
    judged = run(blocks, chosen, machine, ids, from_instr)
    if first == 0:
        assert [getattr(judged, e) for e in EVENTS] == [getattr(whole, e) for e in EVENTS]
        return
    begun = {row: chosen[row] for row in range(first)}
    warm_up = run(blocks[:first], begun, machine, ids[:first])
    for event in EVENTS:
        assert getattr(warm_up, event) + getattr(judged, event) == getattr(whole, event), event
    assert judged.unused_before == warm_up.unused_after
    waits = [
        o.est_cycles - round(o.instructions * machine.instruction_cycles)
        for o in (warm_up, judged, whole)
    ]
    assert waits[0] + waits[1] == waits[2]


@pytest.mark.skipif(not SHARED_TRACES.exists(), reason="needs ../shared/data/traces")
@pytest.mark.parametrize("name", ["sssp-kron", "champsim-bfs"])
def test_the_llc_alone_misses_as_often_as_the_trace_says(name):
    """All but what stores brought, and what was there at the trace's beginning."""
    trace = read_trace(SHARED_TRACES / f"{name}.txt.xz").take(slice(0, 300_000))
    from_instr = int(trace.instr_id[100_000])
    outcome = simulate(trace, no_prefetcher(), from_instr=from_instr)
    misses = np.sum(~trace.hit[np.maximum.accumulate(trace.instr_id) >= from_instr])
    assert outcome.misses == pytest.approx(misses, rel=0.05)
    assert outcome.mpki == pytest.approx(outcome.mpki_none, rel=0.001)
