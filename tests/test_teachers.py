"""Teacher sets: who learns what for how long, who answers which row, and what it is worth."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_study import (
    ENTRY,
    FEATURES,
    WINDOWS,
    alike,
    best_f1_by_hand,
    clusters_of,
    logits_of,
    source,
    stubborn_teachers,
    study,
)

from packd_jax import clustering
from packd_jax.config import DistillConfig, QuirksConfig
from packd_jax.features import Examples
from packd_jax.run_log import RunLog
from packd_jax.splits import SPLITS, encode_splits
from packd_jax.teachers import (
    ClusterKey,
    TeacherKey,
    fit_clusters,
    row_clusters,
    soft_targets,
    train_teachers,
)
from packd_jax.train_step import decode_soft

A2 = ClusterKey("a", 2)
STEPS = 40
TRAIN = dataclasses.replace(ENTRY.teacher_train, steps=STEPS, learning_rate=0.1)
ENTRY = dataclasses.replace(ENTRY, teacher_train=TRAIN)
SIZES = {"train": 60, "validation": 24, "test": 36}
IDS = {name: np.arange(size) % 3 // 2 for name, size in SIZES.items()}  # two thirds, one third
CLUSTERS = clusters_of(IDS, 2)
# The same window in all rows; it sets another bit in each cluster.
SPLITS_ALIKE = alike({name: [[5 * c] for c in ids] for name, ids in IDS.items()})


def trained(workdir, kind, clusters=CLUSTERS, splits=SPLITS_ALIKE, entry=ENTRY, seed=0, **quirks):
    config = study(quirks=QuirksConfig(**quirks))
    key = TeacherKey(kind, None if kind == "kd" else A2, seed)
    with RunLog(workdir) as log:
        return train_teachers(key, splits, clusters, entry, config, workdir, log)


def probabilities(teachers):
    """What each teacher says about the one window there is, f64[K, D]."""
    inputs = SPLITS_ALIKE.test.examples.take(slice(0, 1)).inputs
    logits = logits_of(teachers.model, teachers.fit.variables, inputs)[:, 0]
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def parameters(teachers):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(teachers.fit.variables)])


def test_names_of_clusterings_and_teacher_sets():
    assert str(A2) == "a2"
    assert str(TeacherKey("packd", A2, 1)) == "packd-a2-1"
    assert str(TeacherKey("kd", None, 0)) == "kd-0"


def test_each_teacher_learns_its_own_cluster_and_the_global_one_all_of_them(tmp_path):
    packd, kd = trained(tmp_path, "packd"), trained(tmp_path, "kd")
    first, second = probabilities(packd)
    assert first[0] > 0.7 and second[5] > 0.7
    assert first[5] < 0.1 and second[0] < 0.1  # not a row of the other cluster was seen
    (both,) = probabilities(kd)
    np.testing.assert_allclose(both[[0, 5]], [2 / 3, 1 / 3], atol=0.15)
    assert packd.steps == kd.steps == STEPS
    assert packd.f1 == 1.0  # routed, they are right on every row
    # The one teacher says bit 0 everywhere, or both bits.
    assert kd.f1 == pytest.approx(max(2 / 3, 2 / (2 + 1)))


def test_the_teacher_of_equal_budget_has_the_steps_of_all(tmp_path):
    three = clusters_of({name: np.arange(size) % 3 for name, size in SIZES.items()}, 3)
    budget = trained(tmp_path, "kd_budget", three)
    assert budget.steps == budget.fit.info.step[-1] == 3 * STEPS
    assert len(budget.fit.f1) == 1
    assert all((ids == 0).all() for ids in budget.ids.values())
    packd = trained(tmp_path, "packd", three)
    assert packd.fit.info.step[-1] * len(packd.fit.f1) == budget.fit.info.step[-1]


def test_random_teachers_have_clusters_of_equal_shares_without_a_meaning(tmp_path):
    control = trained(tmp_path, "packd_random")
    for name, size in SIZES.items():
        shares = np.bincount(control.ids[name], minlength=2)
        assert np.abs(shares - size * np.array([2 / 3, 1 / 3])).max() <= 1
        assert (control.ids[name] != CLUSTERS.ids[name]).sum() > size / 6
    # Each has rows of both real clusters.
    assert (probabilities(control)[:, [0, 5]] > 0.1).all()


def test_the_control_is_drawn_anew_for_each_seed_and_split():
    keys = [TeacherKey("packd_random", A2, seed) for seed in (0, 1)]
    first, second = (row_clusters(key, SPLITS_ALIKE, CLUSTERS) for key in keys)
    again = row_clusters(keys[0], SPLITS_ALIKE, CLUSTERS)
    for name in SPLITS:
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != second[name]).any()
    assert (first["train"][: SIZES["validation"]] != first["validation"]).any()


def test_rows_of_the_other_kinds():
    assert row_clusters(TeacherKey("packd", A2, 0), SPLITS_ALIKE, CLUSTERS) is CLUSTERS.ids
    for kind in ("kd", "kd_budget"):
        ids = row_clusters(TeacherKey(kind, None, 0), SPLITS_ALIKE, CLUSTERS)
        assert {name: own.tolist() for name, own in ids.items()} == {
            name: [0] * size for name, size in SIZES.items()
        }


def test_the_authors_rate_is_twice_as_high_for_packd_alone(tmp_path):
    twice = dataclasses.replace(
        ENTRY, teacher_train=dataclasses.replace(TRAIN, learning_rate=2 * TRAIN.learning_rate)
    )
    for kind, expected in (("packd", twice), ("packd_random", twice), ("kd", ENTRY)):
        quirky = trained(tmp_path / "quirk", kind, packd_learning_rate_factor=2.0)
        plain = trained(tmp_path / "plain", kind, entry=expected)
        np.testing.assert_array_equal(parameters(quirky), parameters(plain))


def test_seeds_of_teachers_differ(tmp_path):
    first, second = (parameters(trained(tmp_path, "kd", seed=seed)) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.1


def test_a_trained_set_is_read_back(tmp_path):
    first = trained(tmp_path, "packd")
    again = trained(tmp_path, "packd", splits=alike({name: [[9]] * SIZES[name] for name in SPLITS}))
    np.testing.assert_array_equal(parameters(again), parameters(first))


def test_f1_is_that_of_the_routed_set_on_the_split_that_chooses(tmp_path):
    splits = encode_splits([source()], WINDOWS, FEATURES)
    config = study(distill=DistillConfig(cluster_ks=(2,)))
    entry = dataclasses.replace(ENTRY, teacher_train=dataclasses.replace(TRAIN, steps=8))
    clusters = fit_clusters(splits, A2, config, FEATURES.look_back)
    for name, on_test in (("validation", False), ("test", True)):
        teachers = trained(
            tmp_path / name, "packd", clusters, splits, entry, select_on_test=on_test
        )
        examples: Examples = getattr(splits, name).examples
        every = logits_of(teachers.model, teachers.fit.variables, examples.inputs)
        routed = every[clusters.ids[name], np.arange(examples.rows)]
        assert teachers.f1 == pytest.approx(best_f1_by_hand(routed, examples.labels), abs=1e-12)
        for k, f1 in enumerate(teachers.fit.f1):  # each is chosen on its own cluster
            own = clusters.ids[name] == k
            found = best_f1_by_hand(every[k, own], examples.labels[own])
            assert f1 == pytest.approx(found, abs=1e-12)


# Clusters that are missing somewhere.


def test_a_cluster_that_the_drawn_rows_miss_learns_from_its_rows_beyond_them(tmp_path):
    drawn = np.random.default_rng([0, 60]).permutation(60)[:20]
    rare = np.setdiff1d(np.arange(60), drawn)[:4]
    ids = {**IDS, "train": np.isin(np.arange(60), rare).astype(int)}
    splits = alike({name: [[5 * c] for c in own] for name, own in ids.items()})
    few = dataclasses.replace(ENTRY, teacher_train=dataclasses.replace(TRAIN, rows=20))
    first, second = probabilities(trained(tmp_path, "packd", clusters_of(ids, 2), splits, few))
    assert first[0] > 0.7 > 0.1 > first[5]
    assert second[5] > 0.7 > 0.1 > second[0]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_cluster_without_a_training_row_learns_from_all_of_them(tmp_path, missing):
    # As when clusters are fitted on other numbers than they are assigned by.
    present = [k for k in range(3) if k != missing]
    ids = {name: np.array(present)[own] for name, own in IDS.items()}
    ids["test"] = np.arange(SIZES["test"]) % 3
    teachers = trained(tmp_path, "packd", clusters_of(ids, 3))
    found = probabilities(teachers)
    assert len(found) == 3
    first, second = found[present]
    assert first[0] > 0.7 > 0.3 > first[5] and second[5] > 0.7 > 0.3 > second[0]
    assert (found[missing, [0, 5]] > 0.1).all()


def test_a_cluster_that_validation_misses_is_looked_at_on_all_of_its_rows(tmp_path):
    ids = {**IDS, "validation": np.zeros(SIZES["validation"], int)}
    teachers = trained(tmp_path, "packd", clusters_of(ids, 2))
    first, second = teachers.fit.f1
    assert first == pytest.approx(2 / 3, abs=0.2) and 0 < second < 1
    assert teachers.f1 == first  # no row is routed to the second


def test_clusters_in_which_all_but_one_are_merged(tmp_path):
    ids = {name: np.zeros(size, int) for name, size in SIZES.items()}
    packd, budget = (
        trained(tmp_path, kind, clusters_of(ids, 1)) for kind in ("packd", "kd_budget")
    )
    assert budget.steps == packd.steps == STEPS
    np.testing.assert_array_equal(parameters(packd), parameters(budget))


# Clusterings.

REAL = encode_splits([source()], WINDOWS, FEATURES)


@pytest.mark.parametrize("feature", ["a", "d", "i", "t"])
def test_clusters_are_fitted_on_training_windows_and_assigned_everywhere(feature):
    found = fit_clusters(REAL, ClusterKey(feature, 2), study(), FEATURES.look_back)
    windows = REAL.train.windows(feature, FEATURES.look_back)
    np.testing.assert_allclose(found.fitted.mean, windows.mean(axis=0))
    np.testing.assert_array_equal(np.bincount(found.ids["train"]), found.fitted.counts)
    for name in SPLITS:
        points = (getattr(REAL, name).windows(feature, 3) - windows.mean(0)) / windows.std(0)
        distance = np.linalg.norm(points[:, None] - found.fitted.centers, axis=2)
        chosen = distance[np.arange(len(points)), found.ids[name]]
        np.testing.assert_allclose(chosen, distance.min(axis=1), atol=1e-5)


def test_block_addresses_tell_the_streams_apart():
    found = fit_clusters(REAL, A2, study(), FEATURES.look_back)
    for name in SPLITS:
        (loads, rows), *_ = getattr(REAL, name).parts
        second = loads.address[rows] > 64 * 64 * 50_000
        pure = (rows - 2) // 25 == rows // 25  # the whole window is of one stream
        ids = found.ids[name][pure] == found.ids[name][pure][second[pure]][0]
        np.testing.assert_array_equal(ids, second[pure])


def test_the_authors_clusters_are_unscaled():
    config = study(quirks=QuirksConfig(clusters_unscaled=True))
    fitted = fit_clusters(REAL, A2, config, FEATURES.look_back).fitted
    assert fitted.mean.tolist() == [0.0] * 3 and fitted.scale.tolist() == [1.0] * 3
    assert fitted.centers.max() > 64 * 80_000


def test_the_authors_delta_clusters_are_fitted_on_pcs_and_applied_to_deltas():
    config = study(quirks=QuirksConfig(delta_clusters_from_pcs=True))
    found = fit_clusters(REAL, ClusterKey("d", 2), config, FEATURES.look_back)
    on_pcs = fit_clusters(REAL, ClusterKey("i", 2), study(), FEATURES.look_back)
    assert found.fitted.feature == "d"
    np.testing.assert_array_equal(found.fitted.centers, on_pcs.fitted.centers)
    np.testing.assert_array_equal(found.fitted.counts, on_pcs.fitted.counts)
    for name in SPLITS:
        deltas = getattr(REAL, name).windows("d", FEATURES.look_back)
        np.testing.assert_array_equal(found.ids[name], clustering.assign(found.fitted, deltas))
    # The other features are left alone.
    blocks = fit_clusters(REAL, A2, config, FEATURES.look_back).fitted
    honest = fit_clusters(REAL, A2, study(), FEATURES.look_back).fitted
    np.testing.assert_array_equal(blocks.centers, honest.centers)


def test_such_delta_clusters_can_be_learnt_from(tmp_path):
    # PCs are large and deltas are small, so that all windows are nearest to the smallest PCs.
    splits = encode_splits([source(pc=0x400000)], WINDOWS, FEATURES)
    config = study(quirks=QuirksConfig(delta_clusters_from_pcs=True, clusters_unscaled=True))
    clusters = fit_clusters(splits, ClusterKey("d", 2), config, FEATURES.look_back)
    assert sorted(np.bincount(clusters.ids["train"], minlength=2)) == [
        0,
        len(clusters.ids["train"]),
    ]
    entry = dataclasses.replace(ENTRY, teacher_train=dataclasses.replace(TRAIN, steps=8))
    teachers = trained(tmp_path, "packd", clusters, splits, entry)
    assert len(teachers.fit.f1) == 2 and 0 < teachers.f1 < 1


# Soft targets.


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_soft_targets_of_drawn_rows_are_routed_and_written_once(tmp_path, dtype):
    key = TeacherKey("packd", A2, 0)
    teachers = stubborn_teachers(key, [2, 7], CLUSTERS.ids)
    config = study(distill=DistillConfig(soft_dtype=dtype))
    rows = np.array([3, 4, 5, 8, 30, 59], np.int32)
    examples = SPLITS_ALIKE.train.examples

    def targets(of):
        with RunLog(tmp_path) as log:
            return soft_targets(of, examples, rows, 3.0, config, tmp_path, log)

    found = targets(teachers)
    assert found.dtype == dtype
    expected = np.full((6, 16), 1 / (1 + np.exp(3)))
    expected[np.arange(6), np.array([2, 7])[IDS["train"][rows]]] = 1 / (1 + np.exp(-3))
    np.testing.assert_allclose(decode_soft(jnp.asarray(found)), expected, atol=1 / 500)
    (path,) = (tmp_path / "soft_targets").iterdir()
    assert path.name == "packd-a2-0-t3.npy"
    written = path.stat()
    # Other teachers of that name would say otherwise, were they asked.
    again = targets(stubborn_teachers(key, [1, 1], CLUSTERS.ids))
    np.testing.assert_array_equal(again, found)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (written.st_mtime_ns, written.st_ino)
