"""Classical prefetchers on hand-worked streams, and all of them in the simulator."""

import numpy as np
import pytest

from packd_jax.prefetch.baselines import BASELINES, best_offset, signature_path, stream, stride
from packd_jax.prefetch.machine import Machine
from packd_jax.prefetch.oracle import oracle
from packd_jax.prefetch.simulator import simulate
from packd_jax.traces.load_trace import LoadTrace

PAGE = 64  # blocks


class Driver:
    """Calls a prefetcher load by load."""

    def __init__(self, name, degree=2):
        self.prefetcher = BASELINES[name]()
        self.state = self.prefetcher.tables()
        self.out = np.zeros(degree, np.int64)

    def load(self, block, pc=1, hit=False, first_use=False, fills=()):
        """`fills` are (block, prefetched) pairs; returns the blocks prefetched."""
        came = np.array([2 * b + prefetched for b, prefetched in fills], np.int64)
        count = self.prefetcher.observe(self.state, block, pc, hit, first_use, came, self.out)
        assert 0 <= count <= len(self.out)
        return self.out[:count].tolist()

    def loads(self, blocks, pc=1):
        return [self.load(block, pc) for block in blocks]


def test_next_line():
    assert Driver("next_line").loads([10, 7]) == [[11, 12], [8, 9]]
    assert Driver("next_line", degree=3).loads([10]) == [[11, 12, 13]]


def test_stride_follows_each_pc_alone():
    driver = Driver("stride")
    # The first load of a PC is noted, the second gives a stride, the third confirms it.
    assert driver.loads([100, 103, 106, 109], pc=5) == [[], [], [112, 118], [115, 121]]
    assert driver.loads([900, 890, 880], pc=6) == [[], [], [860, 840]]
    assert driver.load(112, pc=5) == [118, 124]
    # Sure of it (confidence 3), two other strides leave it in force, the same block says nothing.
    assert driver.load(500, pc=5) == [506, 512]
    assert driver.load(500, pc=5) == []
    assert driver.load(503, pc=5) == [509, 515]
    assert driver.load(300, pc=5) == [306, 312]


def test_stride_gives_a_wrong_stride_up():
    driver = Driver("stride")
    assert driver.loads([0, 4, 8]) == [[], [], [16, 24]]
    assert driver.loads([108, 208, 308]) == [[], [], [508, 708]]


def test_stride_entries_are_tagged():
    driver = Driver("stride")
    driver.loads([0, 4, 8], pc=5)
    other = 5 ^ (1 << 8) ^ 1  # of the same entry
    assert driver.loads([12, 16], pc=other) == [[], []]
    assert driver.load(20, pc=5) == []  # which the other PC took


def test_stream_trains_on_three_misses_in_one_direction():
    driver = Driver("stream")
    assert driver.loads([100, 102, 103]) == [[], [], [104, 105]]
    assert driver.load(104, hit=True) == [106, 107]
    assert driver.load(101, hit=True) == [108, 109]  # anywhere in the region
    down = Driver("stream")
    assert down.loads([200, 199, 195]) == [[], [], [194, 193]]
    turned = Driver("stream")
    assert turned.loads([100, 102, 97, 95]) == [[], [], [], [94, 93]]
    assert Driver("stream").loads([100, 117, 134]) == [[], [], []]  # too far apart
    assert Driver("stream").loads([100, 100, 100]) == [[], [], []]


def test_stream_regions_end_and_trackers_are_limited():
    driver = Driver("stream")
    driver.loads([100, 101, 102])
    prefetched = [driver.load(block, hit=True) for block in range(103, 140)]
    # A region of 16 blocks and the two prefetched; where loads fall behind it, it waits for them.
    assert max(max(b, default=0) - at for at, b in enumerate(prefetched, 103)) == 18
    assert {b for some in prefetched for b in some} >= set(range(107, 150))
    assert driver.load(100, hit=True) == []  # left behind
    for block in range(stream.TRACKERS):
        driver.load(10_000 + 100 * block)
    assert driver.load(140, hit=True) == []


def learn(driver, blocks):
    """Every load misses; what is prefetched comes before the next one."""
    fills = []
    for block in blocks:
        chosen = driver.load(block, fills=fills)
        fills = [(block, False), *((b, True) for b in chosen)]
    return chosen


def test_best_offset_learns_the_offset_that_would_have_been_in_time():
    driver = Driver("best_offset", degree=1)
    assert driver.load(10) == [11]  # offset 1 at first
    assert driver.load(63) == []  # never beyond the page
    assert driver.load(11, hit=True) == []
    assert driver.load(11, hit=True, first_use=True) == [12]
    blocks = [PAGE * page + offset for page in range(300) for offset in range(0, 60, 3)]
    learn(driver, blocks)
    assert driver.load(10 * PAGE)[0] - 10 * PAGE in (3, 6, 9)
    two = Driver("best_offset")
    learn(two, blocks)
    offset = two.load(10 * PAGE)[0] - 10 * PAGE
    assert offset in (3, 6, 9)
    assert two.load(10 * PAGE + 1) == [10 * PAGE + 1 + offset, 10 * PAGE + 1 + 2 * offset]
    assert two.load(10 * PAGE + 63 - offset) == [10 * PAGE + 63]


def test_best_offset_takes_a_larger_offset_for_blocks_that_come_late():
    """Prefetches come three loads later, so that only offsets from 4 on are found in time."""
    driver, waiting = Driver("best_offset", degree=1), []
    for block in (PAGE * page + offset for page in range(600) for offset in range(64)):
        fills = waiting.pop(0) if len(waiting) == 4 else []
        waiting.append([(b, True) for b in driver.load(block, fills=fills)])
    offset = driver.load(0)[0]
    assert 4 <= offset <= 6


def test_best_offset_rests_where_nothing_is_learnt():
    driver = Driver("best_offset", degree=1)
    rng = np.random.default_rng(0)
    learn(driver, rng.integers(1, 1 << 30, 3000).tolist())
    assert driver.load(10) == []
    # And goes on learning, from what loads fetch: here there are misses only.
    learn(driver, [PAGE * page + offset for page in range(100) for offset in range(0, 64, 2)])
    assert driver.load(10)[0] in (12, 14)


def test_signature_path_learns_a_path_and_looks_ahead():
    driver = Driver("signature_path")
    # Signatures of deltas +1: 0, 1, 9, 73, 585, 585; the last two share an entry of the table.
    assert driver.loads([0, 1, 2, 3]) == [[], [], [], []]
    assert driver.load(4) == [5]
    # That prefetch was used, so that all (one) were: the path may go on.
    assert driver.load(5) == [6, 7]
    assert driver.load(5) == []
    # Another page with the same deltas has the same signatures. Of three prefetches one was used.
    there = PAGE * 7
    assert driver.loads([there + 9, there + 10]) == [[], [there + 11, there + 12]]


def test_signature_path_goes_on_in_the_next_page():
    driver = Driver("signature_path")
    driver.loads(range(40, 64))  # leaves page 0 at its last block
    assert driver.load(PAGE * 5)[:1] == [PAGE * 5 + 1]  # wherever the next page is
    assert Driver("signature_path").load(PAGE * 5) == []


def test_signature_path_looks_ahead_so_far():
    driver = Driver("signature_path", degree=40)
    driver.loads(range(8))
    driver.state[[signature_path.ISSUED, signature_path.USEFUL]] = 100  # sure of every delta
    driver.state[signature_path.FILTERED : signature_path.CROSSED] = -1
    assert driver.load(8) == list(range(9, 9 + signature_path.DEPTH))


def test_signature_path_counts_are_halved_together():
    driver = Driver("signature_path")
    driver.loads([0, *range(1, 60)])
    totals = driver.state[signature_path.TOTALS : signature_path.DELTAS]
    counts = driver.state[signature_path.COUNTS : signature_path.FILTERED]
    assert totals.max() <= signature_path.COUNT_MAX
    assert np.array_equal(counts.reshape(-1, signature_path.WAYS).sum(1), totals)


def test_temporal_repeats_a_chain_of_one_pc():
    driver = Driver("temporal")
    assert driver.loads([5, 90, 7, 33], pc=1) == [[]] * 4
    assert driver.loads([90, 6], pc=2) == [[7, 33], []]  # whoever loads; its own chain is short
    assert driver.load(5, pc=1) == [90, 7]
    # 90 was followed by 7 first, and 6 does not replace it at once.
    assert driver.loads([90, 6], pc=2)[0] == [7, 33]


def test_temporal_chains_end():
    driver = Driver("temporal")
    blocks = [1000 + 7 * i for i in range(300)]
    driver.loads(blocks)
    assert driver.load(blocks[10]) == blocks[11:13]
    assert driver.load(blocks[254]) == [blocks[255]]  # 256 blocks a chain
    assert driver.load(blocks[256]) == blocks[257:259]


def test_temporal_forgets_the_least_recently_used():
    driver = Driver("temporal")
    sets = 16384 // 8
    driver.loads([sets * i for i in range(9)])  # nine blocks of a set of eight
    assert driver.load(0) == []
    assert driver.load(sets * 7, pc=2) == [sets * 8, 0]  # which is now behind the other


def trace_of(blocks):
    blocks = np.asarray(blocks, np.uint64)
    ids = 40 * np.arange(1, len(blocks) + 1)
    return LoadTrace(ids, ids, blocks << np.uint64(6), blocks % 7, np.zeros(len(blocks), bool))


def test_the_oracle_covers_what_can_be_covered():
    rng = np.random.default_rng(0)
    trace = trace_of(rng.integers(1, 1 << 20, 3000))
    outcome = simulate(trace, oracle(trace))
    assert outcome.accuracy == 1.0 and outcome.coverage > 0.98
    assert outcome.misses == 32 and outcome.late == 0
    near = simulate(trace, oracle(trace, ahead=1))
    assert near.late > 2900
    short = trace.take(slice(0, 20))
    assert simulate(short, oracle(short)).requested == 0


@pytest.mark.parametrize(
    "name, stored",
    [("none", 0), ("next_line", 0), ("stride", 1984), ("stream", 456), ("best_offset", 412)]
    + [("signature_path", 5508), ("temporal", 243523)],
)
def test_all_of_them_in_the_simulator(name, stored):
    """A sequential stream: all but two learn it, each in its own time, and repeat themselves."""
    trace = trace_of(range(64, 6000))
    outcome = simulate(trace, BASELINES[name](), from_instr=40_000)
    assert outcome.bytes == stored and outcome.name == name
    assert outcome == simulate(trace, BASELINES[name](), from_instr=40_000)
    covered = 0 if name in ("none", "temporal") else 0.3
    assert outcome.coverage == pytest.approx(covered) or outcome.coverage > covered > 0
    single = simulate(trace, BASELINES[name](), Machine(degree=1), from_instr=40_000)
    assert single.requested <= single.loads


def test_sizes_are_what_their_papers_say():
    assert best_offset.OFFSETS.tolist()[:8] == [1, 2, 3, 4, 5, 6, 8, 9]
    assert len(best_offset.OFFSETS) == 26 and best_offset.OFFSETS[-1] == 60
    assert stride.ENTRIES == 256
