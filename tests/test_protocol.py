"""The whole study at smoke size: what it leaves, and that it is honest and repeatable."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from experiments.configs.packd import study as named
from packd_jax import protocol, results
from packd_jax.checkpoints import restore_checkpoint
from packd_jax.config import ARMS, ConfigError, DistillConfig, from_config_dict
from packd_jax.models import InputSpec, build_model
from packd_jax.protocol import run_study
from packd_jax.run_log import RunLog

ROW = {
    *("encoding", "model", "params", "bytes", "arm", "seed", "f1", "precision", "recall"),
    *("average_precision", "f1_at_half", "threshold", "steps", "train_seconds", "checkpoint"),
}


def smoke(**changes):
    """The smoke study with the tokens' entry alone."""
    config = named("smoke")
    entries = {"tokens_mlp": config.entries["tokens_mlp"]}
    return dataclasses.replace(config, entries=entries, **changes)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("study")
    with RunLog(workdir) as log:
        found = run_study(named("smoke"), workdir, log)
    return workdir, found


def test_results_keep_the_contract(study):
    workdir, found = study
    written = json.loads((workdir / "results.json").read_text())
    assert len(written["rows"]) == 2 * len(ARMS) * 2  # entries, arms, seeds
    for row in written["rows"]:
        assert set(row) >= ROW
        assert 0 <= row["f1"] <= 1 and 0 < row["threshold"] < 1
        assert (
            row["f1"]
            <= 2 * row["precision"] * row["recall"] / max(row["precision"] + row["recall"], 1e-9)
            + 1e-9
        )
    assert len(written["trace"]["sha256"]) == 64
    assert written["trace"]["rows"]["tokens_mlp"]["train"] > 500
    best = max(row["validation_f1"] for row in written["rows"])
    assert written["rows"][written["selected"]]["validation_f1"] == best
    assert written["rows"] == json.loads(json.dumps(found["rows"]))


def test_arms_of_one_entry_have_equal_budgets_and_sizes(study):
    rows = [r for r in study[1]["rows"] if r["entry"] == "tokens_mlp" and r["arm"] != "marginal"]
    assert len({row["steps"] for row in rows}) == 1
    plain = [row["params"] for row in rows if not row["arm"].startswith("cluster_input")]
    assert len(set(plain)) == 1
    assert all(row["params"] >= plain[0] for row in rows)


def test_checkpoints_hold_what_was_judged(study):
    workdir, found = study
    row = next(r for r in found["rows"] if r["arm"] == "packd" and r["entry"] == "tokens_mlp")
    tree, meta = restore_checkpoint(workdir / row["checkpoint"])
    assert meta["metrics"]["f1"] == row["f1"] and meta["config"]["arm"] == "packd"
    entry = from_config_dict(type(smoke().entries["tokens_mlp"]), meta["config"]["entry"])
    model = build_model(entry.student, InputSpec.of(entry.features))
    fresh = model.init(jax.random.key(0), InputSpec.of(entry.features).zeros(), train=False)
    same = jax.tree.map(lambda a, b: a.shape == b.shape, tree["params"], fresh["params"])
    assert all(jax.tree.leaves(same))
    assert len(meta["pc_vocabulary"]) > 1


def test_the_same_study_again_is_read_back_and_equal(study):
    workdir, found = study
    with RunLog(workdir) as log:
        again = run_study(named("smoke"), workdir, log)
    assert again["rows"] == found["rows"]


def test_another_study_in_the_same_workdir_is_refused(study):
    workdir, _ = study
    with RunLog(workdir) as log, pytest.raises(ConfigError, match=r"config\.seeds differ"):
        run_study(dataclasses.replace(named("smoke"), seeds=(5,)), workdir, log)


def test_equal_arms_are_equal(tmp_path):
    """With alpha 1 a teacher has no say, so kd and no_kd must be one and the same."""
    config = smoke(
        arms=("no_kd", "kd", "packd"), distill=DistillConfig(alphas=((1.0,),), cluster_ks=(2,))
    )
    with RunLog(tmp_path) as log:
        rows = run_study(config, tmp_path, log)["rows"]
    f1 = {(row["arm"], row["seed"]): row["f1"] for row in rows}
    for seed in config.seeds:
        assert f1["kd", seed] == f1["no_kd", seed] == f1["packd", seed]


def test_validation_chooses_among_candidates_and_never_sees_test(tmp_path, monkeypatch):
    looked = []
    whole = results.judge_on_test
    monkeypatch.setattr(results, "judge_on_test", lambda *args: looked.append(1) or whole(*args))
    config = smoke(
        arms=("no_kd", "kd"),
        distill=DistillConfig(alphas=((0.0,), (0.5,)), temperatures=(1.0, 3.0)),
    )
    with RunLog(tmp_path) as log:
        found = run_study(config, tmp_path, log)
    assert len(looked) == 1
    chosen = {(r["alpha"][0], r["temperature"]) for r in found["rows"] if r["arm"] == "kd"}
    assert len(chosen) == 1 and chosen <= {(a, t) for a in (0.0, 0.5) for t in (1.0, 3.0)}
    notes = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any("out of 4" in note.get("text", "") for note in notes)


def test_a_weak_teacher_is_named(study):
    notes = (study[0] / "metrics.jsonl").read_text()
    weak = protocol._warn.__doc__
    assert weak and "warning: teacher" in notes


def test_report_material_is_complete(study):
    details = study[1]["details"]["tokens_mlp"]
    assert len(details["label_frequency"]) == 256
    for clusters in details["clusters"].values():
        assert sum(clusters["test_rows"]) == details["rows"]["test"]
        for by_cluster in clusters["test_f1"].values():
            assert all(math.isnan(f1) or 0 <= f1 <= 1 for f1 in by_cluster)
    curve = details["threshold_curve"]
    assert np.all(np.diff(curve["threshold"]) > 0)
