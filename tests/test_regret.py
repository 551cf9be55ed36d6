"""The regret of plans: by hand, and of a small model whose pieces are measured."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_latency_model import tiny_model

from latency_jax.measuring.load import Load
from latency_jax.measuring.timing import MeasureConfig
from latency_jax.parameters import ParameterError
from latency_jax.partition.measured_pieces import MeasuredPieces, Piece, load_of
from latency_jax.partition.model_chain import Machine, model_chain
from latency_jax.partition.plan import OBJECTIVES, Chain, Device, Link
from latency_jax.partition.refined import refine
from latency_jax.partition.regret import (
    measure_splits,
    measured_plans,
    nested,
    regrets,
    spread_cuts,
)
from latency_jax.partition.regret_report import as_json, as_markdown
from latency_jax.whole_model.measured_model import WholeModel
from packd_jax.config import ConfigError

# By prediction cut 3 is best for latency (3 s), and cut 2 for throughput (2 s).
CHAIN = Chain(
    [Device("a", np.array([1.0, 1.0, 1.0])), Device("b", np.array([1.5, 1.5, 1.0]))],
    [Link(1000.0, 0.5)],
    np.array([1000, 500, 500, 0]),
)
MEASURED_S = {0: (0.0, 4.0), 1: (1.0, 1.5), 2: (1.8, 1.0), 3: (4.0, 0.0)}


def refined(chain, measured):
    return {
        o: refine(chain, o, lambda cuts: {cut: measured[cut] for cut in cuts}) for o in OBJECTIVES
    }


def test_regret_by_hand():
    """Latencies are 5.5, 3.5, 3.8 and 4 s, intervals 4, 1.5, 1.8 and 4 s."""
    measured = measured_plans(CHAIN, MEASURED_S)
    assert [measured[cut].latency_s for cut in range(4)] == pytest.approx([5.5, 3.5, 3.8, 4])
    latency, throughput = found = regrets(CHAIN, measured, refined(CHAIN, measured))
    assert [row.chosen.bounds[1] for row in found] == [3, 2]
    assert [row.best.bounds[1] for row in found] == [1, 1]
    assert latency.regret == pytest.approx(4 / 3.5 - 1)
    assert throughput.regret == pytest.approx(1.8 / 1.5 - 1)
    assert (latency.predicted.latency_s, throughput.predicted.interval_s) == (3, 2)
    table = as_markdown({"net": found}).splitlines()
    assert table[2] == (
        "| net | latency | 3000 | 3 of 3 | 4000 | 3 of 3 | 4000 | 1 | 1 of 3 | 3500 | 14.3 % "
        "| 14.3 % |"
    )
    assert table[3] == (
        "| net | throughput | 2000 | 2 of 3 | 1800 | 2 of 3 | 1800 | 1 | 1 of 3 | 1500 | 20.0 % "
        "| 20.0 % |"
    )


def test_a_refined_plan_has_a_regret_of_its_own():
    measured = measured_plans(CHAIN, {**MEASURED_S, 2: (3.0, 0.5)})
    _, throughput = regrets(CHAIN, measured, refined(CHAIN, measured))
    assert throughput.tried == (2, 1)
    assert (throughput.regret, throughput.refined_regret) == (pytest.approx(1), 0)


def test_a_chosen_split_that_is_the_best_has_no_regret_and_one_that_is_not_measured_an_error():
    measured = measured_plans(CHAIN, {cut: MEASURED_S[cut] for cut in (0, 2, 3)})
    plans = refined(CHAIN, measured)
    assert [r.regret for r in regrets(CHAIN, measured, plans)] == [pytest.approx(4 / 3.8 - 1), 0]
    del measured[2]
    with pytest.raises(ValueError, match=r"cuts \[0, 3\] are measured: expected \[2\] too"):
        regrets(CHAIN, measured, plans)
    three = Chain([CHAIN.devices[0]] * 3, [CHAIN.links[0]] * 2, CHAIN.cut_bytes)
    with pytest.raises(ValueError, match="expected 4 that rise"):
        measured_plans(three, MEASURED_S)


def test_cuts_are_spread():
    assert spread_cuts(CHAIN) == (0, 1, 2, 3)
    assert spread_cuts(CHAIN, 2) == (0, 3)
    parts = np.linspace(1, 2, 40)
    long = Chain([Device("a", parts), Device("b", parts)], CHAIN.links, np.ones(41, int))
    assert spread_cuts(long, 5) == (0, 10, 20, 30, 40)
    with pytest.raises(ValueError, match="count = 1: expected 2"):
        spread_cuts(CHAIN, 1)


def test_pieces_that_hold_others_take_no_less():
    assert nested([0.0, 2.0, 1.0, 4.0]) == pytest.approx([0, 2**0.5, 2**0.5, 4])
    rising = [0.0, 0.0, 1e-6, 1e-3, 1.0]
    assert nested(rising) == pytest.approx(rising) and nested([0.0]) == [0.0]


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.relu(nn.Dense(64)(nn.relu(nn.Dense(32)(x)))))


NET = WholeModel("tests.net:net", ("4,8:float32",), 4)  # a name is all that is asked of it
QUICK = MeasureConfig(windows=1, max_windows=1, window_s=0.001)
IDLE = (Load(), Load())


@pytest.fixture(scope="module")
def planned():
    model = tiny_model(only=("dense", "activation"), rows=20)
    machines = [Machine("a", model, {}), Machine("b", model, {})]
    inputs = [jax.ShapeDtypeStruct((4, 8), jnp.float32)]
    return model_chain(Net(), inputs, machines, [Link(1e9, 0.0)])


def test_after_an_interruption_nothing_is_measured_twice(planned, tmp_path):
    path = tmp_path / "measured.json"

    def measure(cuts):
        return measure_splits(NET, planned, IDLE, MeasuredPieces(path, "here", IDLE, QUICK), cuts)

    every = measure(range(4))
    whole = json.loads(path.read_text())
    assert len(whole["rows"]) == 5  # both devices are alike, so the whole model is one piece
    assert all(0 < row["latency_s"] < 1 for row in whole["rows"])
    for cut, plan in every.items():
        spent = [seconds > 0 for seconds in plan.device_s]
        assert spent == [cut > 0, cut < 3] and plan.bounds == (0, cut, 3)
        assert plan.transfer_s == planned.chain.plan(plan.bounds).transfer_s
    assert measure(range(4)) == every and json.loads(path.read_text()) == whole

    path.write_text(json.dumps({**whole, "rows": whole["rows"][:3]}))
    measure(range(4))
    after = json.loads(path.read_text())["rows"]
    assert after[:3] == whole["rows"][:3] and len(after) == 5
    places = [(row["start"], row["stop"]) for row in after]
    assert sorted(places) == sorted((row["start"], row["stop"]) for row in whole["rows"])
    report = as_json(planned, every, regrets(planned.chain, every, refined(planned.chain, every)))
    assert json.loads(json.dumps(report))["parts"] == 3
    for objective, name in (("latency", "latency_s"), ("throughput", "interval_s")):
        plan = report["plans"][objective]
        measured_s = {split["cut"]: split["measured"][name] for split in report["splits"]}
        assert plan["best_s"] == min(measured_s.values()) == measured_s[plan["best_cut"]]
        assert plan["measured_s"] == measured_s[plan["chosen_cut"]]
        assert plan["regret"] == plan["measured_s"] / plan["best_s"] - 1 >= 0


def test_any_load_makes_all_pieces_timed_as_beside_load(planned, tmp_path):
    path, busy = tmp_path / "measured.json", Load(cpu_utilization=0.3)
    end = planned.parts.equations[-1]
    both = [Piece(NET, load, 0, end) for load in (Load(), busy)]
    pieces = MeasuredPieces(path, "here", (Load(), busy), QUICK)
    found = pieces.measure(planned.graph, both)
    # How much of a load is achieved in windows this short is up to whoever else uses the machine.
    assert found[both[0]].load == Load() and found[both[1]].load.cpu_utilization > 0
    assert pieces.achieved(busy) == found[both[1]].load
    about = json.loads(path.read_text())["about"]
    assert about["repetition_quantile"] is None and about["windows"] == 4
    with pytest.raises(ConfigError, match="measured with windows 4, here it is 1; choose another"):
        MeasuredPieces(path, "here", IDLE, QUICK)
    with pytest.raises(ConfigError, match="measured with environment here, here it is there"):
        MeasuredPieces(path, "there", (busy, busy), QUICK)
    assert MeasuredPieces(path, "here", (busy, busy), QUICK).measure(planned.graph, both) == found


@pytest.mark.parametrize("content", ["", "[]", '{"about": {}}', '{"about": {}, "rows": [{}]}'])
def test_a_file_that_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"measured\.json: not measured pieces"):
        MeasuredPieces(path, "here", IDLE)


def test_conditions_are_a_load_and_not_a_number_of_threads():
    assert load_of({"memory_pressure": 1, "threads": 0}) == Load(0.0, 1.0)
    with pytest.raises(ParameterError, match="taskset"):
        load_of({"threads": 2})
