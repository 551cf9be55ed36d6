import copy
import json
import os

import jax
import pytest

from latency_jax import environment as module
from latency_jax.environment import environment, environment_id


def test_facts_are_json_and_those_of_this_process():
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["affinity"] == sorted(os.sched_getaffinity(0))
    assert facts["threads"] == len(facts["affinity"])
    assert facts["memory_bytes"] > 1 << 28
    assert facts["versions"]["jax"] == jax.__version__
    assert "--xla_force_host_platform_device_count=2" in facts["xla_flags"]
    assert len(facts["load_average"]) == 3
    assert facts["id"] == environment_id(facts) and len(facts["id"]) == 12


@pytest.mark.parametrize("name", ["load_average", "affinity", "git_commit", "memory_bytes"])
def test_what_comes_and_goes_is_no_part_of_the_id(name):
    facts = environment()
    assert environment_id({**facts, name: "another"}) == facts["id"]


@pytest.mark.parametrize(
    "name", ["cpu_model", "cpu_flags", "threads", "backend", "device_kind", "xla_flags"]
)
def test_what_latency_depends_on_changes_the_id(name):
    facts = environment()
    assert environment_id({**facts, name: "another"}) != facts["id"]


def test_versions_and_settings_of_jax_change_the_id():
    facts = environment()
    changed = copy.deepcopy(facts)
    changed["versions"]["jaxlib"] = "0.0.1"
    assert environment_id(changed) != facts["id"]
    with jax.default_matmul_precision("highest"):
        assert environment()["id"] != facts["id"]
    assert environment()["id"] == facts["id"]


def test_the_id_does_not_hang_on_spaces_in_flags(monkeypatch):
    flags = os.environ["XLA_FLAGS"]
    before = environment()["id"]
    monkeypatch.setenv("XLA_FLAGS", "  " + flags.replace(" ", "   "))
    assert environment()["id"] == before


def test_a_pinned_process_says_so():
    cores = os.sched_getaffinity(0)
    one = {min(cores)}
    try:
        os.sched_setaffinity(0, one)
        facts = environment()
    finally:
        os.sched_setaffinity(0, cores)
    assert facts["affinity"] == sorted(one) and facts["threads"] == 1


def test_vector_instruction_sets_are_read_from_cpuinfo(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nflags\t\t: fpu avx2 vme avx512f fma\nflags : none\n")
    assert module._cpu_flags(file) == "avx2 avx512f fma"
    file.write_text("Features\t: fp asimd evtstrm sve\n")
    assert module._cpu_flags(file) == "asimd sve"
    assert module._cpu_flags(tmp_path / "absent") is None
