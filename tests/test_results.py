"""Rows of a study: scores by hand from the checkpoints it leaves, and what those say of it."""

import dataclasses

import jax
import numpy as np
import pytest
from small_study import (
    BITS,
    ENTRY,
    FEATURES,
    WINDOWS,
    best_f1_by_hand,
    logits_of,
    scores_by_hand,
    source,
    study,
)

from packd_jax import evaluation, metrics, results
from packd_jax.checkpoints import restore_checkpoint
from packd_jax.config import EntryConfig, ModelConfig, QuirksConfig, from_config_dict
from packd_jax.models import InputSpec, build_model
from packd_jax.protocol import choose, prepare
from packd_jax.run_log import RunLog
from packd_jax.splits import encode_splits
from packd_jax.students import train_students
from packd_jax.teachers import ClusterKey

ARMS = ("no_kd", "packd", "cluster_input")
SEEDS = (3, 4)
SOURCES = [source()]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("results")
    config = study(arms=(*ARMS, "marginal"), seeds=SEEDS)
    with RunLog(workdir) as log:
        splits = encode_splits(SOURCES, WINDOWS, FEATURES)
        material = prepare(ENTRY, splits, config, workdir, log)
        chosen = choose(material, workdir, log)
        students = train_students(chosen, SEEDS, material, workdir, "final", log)
    tests = results.judge_on_test(students, material)
    rows = results.student_rows("tokens", students, tests, material, SOURCES, workdir)
    return workdir, material, students, rows, tests


def restored(judged, row):
    """Logits on validation and on test of a checkpoint, by what it says itself."""
    workdir, material, *_ = judged
    tree, meta = restore_checkpoint(workdir / row["checkpoint"])
    entry = from_config_dict(EntryConfig, meta["config"]["entry"])
    k = len(meta["clusters"]["sizes"]) if "clusters" in meta else 0
    model = build_model(entry.student, InputSpec.of(entry.features, k))
    variables = {"params": tree["params"], "batch_stats": {}}
    variables = jax.tree.map(lambda leaf: leaf[None], variables)
    found = []
    for split in (material.splits.validation, material.splits.test):
        inputs = split.examples.inputs
        if k:
            clusters = meta["clusters"]
            windows = split.windows(clusters["feature"], entry.features.look_back)
            points = (windows - np.array(clusters["mean"])) / np.array(clusters["scale"])
            distance = ((points[:, None] - np.array(clusters["centers"])) ** 2).sum(axis=2)
            inputs = {**inputs, "cluster": distance.argmin(axis=1).astype(np.uint8)}
        found.append(logits_of(model, variables, inputs)[0])
    return found


def test_one_row_for_each_student_in_their_order(judged):
    _, _, students, rows, _ = judged
    assert [(r["arm"], r["seed"]) for r in rows] == [(a, s) for a in ARMS for s in SEEDS]
    assert [(s.candidate.arm, s.seed) for s in students] == [(r["arm"], r["seed"]) for r in rows]
    assert len({r["f1"] for r in rows}) > 3  # they are told apart by what follows


@pytest.mark.parametrize("number", range(len(ARMS) * len(SEEDS)))
def test_scores_are_those_of_the_checkpoint_at_the_threshold_of_validation(judged, number):
    _, material, _, rows, _ = judged
    row = rows[number]
    on_validation, on_test = restored(judged, row)
    validation, test = (
        s.examples.labels for s in (material.splits.validation, material.splits.test)
    )
    f1, precision, recall = scores_by_hand(on_test, test, row["threshold"])
    assert row["f1"] == pytest.approx(f1, abs=1e-9)
    assert row["precision"] == pytest.approx(precision, abs=1e-9)
    assert row["recall"] == pytest.approx(recall, abs=1e-9)
    assert row["f1_at_half"] == pytest.approx(scores_by_hand(on_test, test, 0.5)[0], abs=1e-9)
    # The threshold is the best one on validation, and not for test's sake.
    best = best_f1_by_hand(on_validation, validation)
    assert row["validation_f1"] == pytest.approx(best, abs=1e-9)
    assert scores_by_hand(on_validation, validation, row["threshold"])[0] == pytest.approx(best)


def test_average_precision_by_hand(judged):
    _, material, _, rows, _ = judged
    _, logits = restored(judged, rows[0])
    truth = np.unpackbits(material.splits.test.examples.labels, axis=1, bitorder="little") == 1
    binned = np.floor(64 * logits.astype(np.float64))
    total, before = 0.0, 0.0
    for edge in np.unique(binned)[::-1]:
        predicted = binned >= edge
        hits = (predicted & truth).sum()
        total += hits / predicted.sum() * (hits / truth.sum() - before)
        before = hits / truth.sum()
    assert rows[0]["average_precision"] == pytest.approx(total, abs=1e-9)


def test_sizes_and_settings_of_the_rows(judged):
    workdir, _, _, rows, _ = judged
    for row in rows:
        tree, _ = restore_checkpoint(workdir / row["checkpoint"])
        count = sum(leaf.size for leaf in jax.tree.leaves(tree["params"]))
        assert row["params"] == count and row["bytes"] == 4 * count
        assert row["steps"] == ENTRY.student_train.steps and row["train_seconds"] > 0
        assert (row["entry"], row["encoding"], row["model"]) == ("tokens", "tokens", "token_mlp")
        clusters = None if row["arm"] == "no_kd" else "a2"
        alpha = [0.1] if row["arm"] == "packd" else [1.0]
        assert (row["clusters"], row["alpha"], row["temperature"]) == (clusters, alpha, 1.0)
    sizes = {row["arm"]: row["params"] for row in rows}
    assert sizes["packd"] == sizes["no_kd"]
    assert sizes["cluster_input"] == sizes["no_kd"] + 2 * 2  # a weight per cluster and unit


def test_checkpoints_say_what_they_are(judged):
    workdir, material, _, rows, _ = judged
    for row in rows:
        assert row["checkpoint"] == f"checkpoints/tokens/{row['arm']}/seed_{row['seed']}"
        _, meta = restore_checkpoint(workdir / row["checkpoint"])
        assert meta["kind"] == "student"
        config = meta["config"]
        assert (config["arm"], config["seed"]) == (row["arm"], row["seed"])
        assert (config["alpha"], config["temperature"]) == (row["alpha"], row["temperature"])
        assert from_config_dict(EntryConfig, config["entry"]) == ENTRY
        for name in ("f1", "threshold", "validation_f1", "params", "average_precision"):
            assert meta["metrics"][name] == row[name]
        assert meta["pc_vocabulary"] == material.splits.pc_vocabulary.tolist()
        trace = meta["provenance"]["trace"]
        assert trace == {"paths": [SOURCES[0].path], "sha256": [SOURCES[0].sha256]}
        assert ("clusters" in meta) == (row["arm"] == "cluster_input")


def test_the_marginal_by_hand(judged):
    _, material, *_ = judged
    few = dataclasses.replace(ENTRY.student_train, rows=40)
    drawn = material._replace(entry=dataclasses.replace(ENTRY, student_train=few))
    splits = material.splits
    everything = splits.train.examples.labels
    chosen = np.random.default_rng([0, len(everything)]).permutation(len(everything))[:40]
    for own, labels in ((material, everything), (drawn, everything[chosen])):
        share = np.unpackbits(labels, axis=1, bitorder="little").mean(axis=0)
        share = np.clip(share, 1e-7, 1 - 1e-7)
        logits = np.log(share / (1 - share))
        validation, test = splits.validation.examples.labels, splits.test.examples.labels
        rows = results.marginal_rows("tokens", own)
        assert [row["seed"] for row in rows] == list(SEEDS)
        for row in rows:
            whole = np.tile(logits, (len(test), 1))
            f1, precision, recall = scores_by_hand(whole, test, row["threshold"])
            assert (row["f1"], row["precision"], row["recall"]) == (
                pytest.approx(f1),
                pytest.approx(precision),
                pytest.approx(recall),
            )
            best = best_f1_by_hand(np.tile(logits, (len(validation), 1)), validation)
            assert row["validation_f1"] == pytest.approx(best)
            assert (row["arm"], row["params"], row["bytes"]) == ("marginal", 0, BITS // 8)
            assert row["steps"] == 0 and row["checkpoint"] is None


def test_select_on_test_chooses_the_threshold_of_the_marginal_there(judged):
    _, material, *_ = judged
    config = dataclasses.replace(material.config, quirks=QuirksConfig(select_on_test=True))
    (row, *_) = results.marginal_rows("tokens", material._replace(config=config))
    assert row["validation_f1"] == row["f1"]
    assert row["f1"] >= results.marginal_rows("tokens", material)[0]["f1"]


def test_histograms_of_groups_add_up_to_the_whole(judged):
    _, material, students, *_ = judged
    stack, model = students[0].stack, students[0].model
    test = material.splits.test.examples
    group = np.arange(test.rows) % 4 // 2 * 2  # groups 0 and 2; 1 and 3 are empty
    whole = evaluation.evaluate(model, stack.variables, test)
    parts = evaluation.evaluate_groups(model, stack.variables, test, group, 4)
    for kind in ("negative", "positive"):
        each = np.stack([getattr(part, kind) for part in parts])
        np.testing.assert_array_equal(each.sum(axis=0), getattr(whole, kind))
        assert not each[[1, 3]].any()
    rows = [np.flatnonzero(group == 2)] * len(stack.f1)
    alone = evaluation.evaluate(model, stack.variables, test, rows)
    np.testing.assert_array_equal(parts[2].positive, alone.positive)
    np.testing.assert_array_equal(parts[2].negative, alone.negative)
    assert whole.positive[0].sum() == np.unpackbits(test.labels).sum()


def test_details_by_hand(judged):
    _, material, students, rows, tests = judged
    found = results.details(material, students, tests)
    splits = material.splits
    test = splits.test.examples
    assert found["rows"]["test"] == test.rows
    bits = np.unpackbits(splits.train.examples.labels, axis=1, bitorder="little")
    np.testing.assert_allclose(found["label_frequency"], bits.mean(axis=0))
    (clusters,) = found["clusters"].values()
    ids = material.clusters[ClusterKey("a", 2)].ids["test"]
    assert clusters["test_rows"] == np.bincount(ids).tolist()
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        logits = [restored(judged, row)[1] for row in own]
        for cluster, f1 in enumerate(clusters["test_f1"][arm]):
            expected = [
                scores_by_hand(one[ids == cluster], test.labels[ids == cluster], row["threshold"])[
                    0
                ]
                for one, row in zip(logits, own)
            ]
            assert f1 == pytest.approx(np.mean(expected), abs=1e-9)
    (teacher,) = found["teachers"].items()
    assert teacher[0] == "packd-a2-0" and teacher[1]["clusters"] == 2
    assert [(c["arm"], c["seed"]) for c in found["curves"]] == [(r["arm"], r["seed"]) for r in rows]
    for curve, row in zip(found["curves"], rows):
        assert max(curve["validation_f1"]) == row["validation_f1"]
        assert len(curve["loss"]) == len(curve["step"]) == 2 and curve["step"][-1] == 8
    curve = found["threshold_curve"]
    best = max(rows, key=lambda row: row["validation_f1"])
    assert (curve["arm"], curve["seed"]) == (best["arm"], best["seed"])
    assert max(curve["test_f1"]) <= best_f1_by_hand(restored(judged, best)[1], test.labels)
    middle = metrics.HALF // 8
    assert curve["threshold"][middle] == 0.5
    assert curve["test_f1"][middle] == pytest.approx(best["f1_at_half"])


def test_a_cluster_that_test_misses_is_there_with_no_score(judged):
    _, material, students, rows, tests = judged
    key = ClusterKey("a", 2)
    clusters = material.clusters[key]
    ids = {**clusters.ids, "test": np.zeros_like(clusters.ids["test"])}
    own = material._replace(clusters={key: clusters._replace(ids=ids)})
    plain = [s for s in students if s.candidate.arm == "no_kd"]
    (found,) = results.details(own, plain, tests)["clusters"].values()
    assert found["test_rows"] == [len(ids["test"]), 0]
    first, second = found["test_f1"]["no_kd"]
    assert first == pytest.approx(np.mean([row["f1"] for row in rows[:2]]))
    assert np.isnan(second)


def test_details_of_the_marginal_alone(judged):
    _, material, *_ = judged
    found = results.details(material, [], [])
    assert found["curves"] == [] and found["threshold_curve"] is None
    assert found["rows"]["train"] == material.splits.train.examples.rows


def test_one_trace_is_named_and_several_are_listed():
    detail = {"tokens": {"rows": {"train": 5}}}
    one = results.describe_traces([source(30)], detail)
    assert one == {
        "path": "trace-0.txt",
        "sha256": "0" * 64,
        "trace_rows": 30,
        "rows": {"tokens": {"train": 5}},
    }
    two = results.describe_traces([source(30), source(50, 1)], detail)
    assert two["path"] == ["trace-0.txt", "trace-1.txt"] and two["trace_rows"] == 80
    assert two["sha256"] == ["0" * 64, "0" * 63 + "1"]


def test_bytes_count_the_batch_statistics_too(judged):
    workdir, material, students, *_ = judged
    assert ENTRY.student == ModelConfig(width=2)
    # A student whose variables have statistics: parameters alone are counted as such.
    variables = {**students[0].stack.variables}
    variables["batch_stats"] = {"mean": np.zeros((len(students[0].stack.f1), 5), np.float32)}
    student = students[0]._replace(stack=students[0].stack._replace(variables=variables))
    (test,) = results.judge_on_test(students[:1], material)
    (row,) = results.student_rows("x", [student], [test], material, SOURCES, workdir / "other")
    assert row["bytes"] == 4 * row["params"] + 4 * 5
