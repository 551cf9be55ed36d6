"""From a program to a prefetcher: compiled, captured, converted, learned, judged."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from experiments.configs.packd import study
from packd_jax.config import CacheLevelConfig
from packd_jax.prefetch.compare import judge_student, think, variants
from packd_jax.prefetch.machine import Machine
from packd_jax.protocol import run_study
from packd_jax.quantize import load_student
from packd_jax.run_log import RunLog
from packd_jax.traces.capture import Region, capture
from packd_jax.traces.mldpc import write_trace
from packd_jax.traces.read_trace import read_trace

PROGRAM = r"""
#include <stdint.h>
#include <stdlib.h>
enum { COUNT = 12000, STRIDE = 192 };
struct node { struct node *next; char rest[120]; };
static struct node *list;
static char *data;
static volatile long sum;
__attribute__((noinline)) void strided_sum(void) {
    for (long i = 0; i < COUNT; i++) sum += data[i * STRIDE];
}
__attribute__((noinline)) void list_walk(void) {
    struct node *node = list;
    for (long i = 0; i < COUNT; i++) node = node->next;
    sum += (long)(intptr_t)node;
}
__attribute__((noinline)) void done(void) { sum = 0; }
int main(void) {
    data = calloc(COUNT, STRIDE);
    list = calloc(COUNT, sizeof *list);
    long *order = calloc(COUNT, sizeof *order);
    for (long i = 0; i < COUNT; i++) order[i] = i;
    uint64_t state = 1;
    for (long i = COUNT - 1; i > 0; i--) { /* one cycle through all nodes, in random order */
        state = state * 6364136223846793005u + 1442695040888963407u;
        long other = (long)((state >> 33) % (uint64_t)i), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (long i = 0; i < COUNT; i++) list[i].next = &list[order[i]];
    strided_sum();
    list_walk();
    done();
    return 0;
}
"""
pytestmark = pytest.mark.skipif(
    not (shutil.which("valgrind") and shutil.which("gcc") and shutil.which("nm")),
    reason="needs valgrind, gcc and nm",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", "-o", "program", "program.c"], cwd=folder, check=True)
    return folder / "program"


@pytest.mark.parametrize(
    ("begin", "end", "regular"), [("strided_sum", "list_walk", True), ("list_walk", "done", False)]
)
def test_what_is_regular_is_predicted_and_what_is_not_is_not(
    program, tmp_path, begin, end, regular
):
    # What experiments.capture_trace and experiments.convert_trace do.
    captured, converted = tmp_path / "captured.txt", tmp_path / "converted.txt.gz"
    captured.write_bytes(b"".join(capture([str(program)], Region(begin, end))))
    write_trace(converted, read_trace(captured))
    trace = read_trace(converted)
    assert 12_000 < trace.rows < 14_000

    config = study("prefetch")
    entry = config.entries["prefetch"]
    training = dataclasses.replace(entry.student_train, steps=200, batch_size=128, evaluations=2)
    windows = dataclasses.replace(
        config.trace,
        paths=(str(converted),),
        unit="percent",
        train=(0, 40),
        validation=(40, 50),
        test=(50, 100),
    )
    config = dataclasses.replace(
        config,
        trace=windows,
        entries={"prefetch": dataclasses.replace(entry, student_train=training)},
        seeds=(0,),
    )
    with RunLog(tmp_path / "study") as log:
        results = run_study(config, tmp_path / "study", log)
    student, _ = load_student(tmp_path / "study" / results["rows"][0]["checkpoint"])
    machine = Machine(llc=CacheLevelConfig(256 * 1024, 16, 20))
    from_instr = int(trace.instr_id[trace.rows // 2])
    integers = variants(student, trace, from_instr)[1]
    thoughts = think(integers.student, trace, from_instr)
    ((row, blocks),) = judge_student(integers, thoughts, trace, [machine], from_instr)
    outcome = row.outcome
    if regular:
        # The loop has no time for more than half of its blocks, so the others are late.
        assert outcome.useful + outcome.late > 0.95 * outcome.loads and outcome.accuracy > 0.95
        half = slice(trace.rows // 2, None)
        ahead = blocks[half] - (trace.address[half, None] >> np.uint64(6)).astype(np.int64)
        assert set((ahead[blocks[half] > 0] % 3).tolist()) == {0}
    else:
        # Where a node's successor lies is written in the node alone, which no load trace holds.
        assert outcome.useful + outcome.late < 0.2 * outcome.loads
