"""Students: what an arm may choose from, and one program whose runs differ as they should."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from small_study import (
    ENTRY,
    alike,
    clusters_of,
    logits_of,
    stubborn_teachers,
    study,
)

from packd_jax.config import (
    ARMS,
    ConfigError,
    DistillConfig,
    ModelConfig,
    QuirksConfig,
    TrainConfig,
)
from packd_jax.run_log import RunLog
from packd_jax.splits import SPLITS
from packd_jax.students import Candidate, Material, _orders, candidates, train_students
from packd_jax.teachers import ClusterKey, TeacherKey

A2 = ClusterKey("a", 2)
LABEL, KD, OTHER_KD, FIRST, SECOND = 0, 3, 4, 9, 12  # the bit that each of them stands for


# Which settings an arm has.

MANY = study(
    distill=DistillConfig(
        alphas=((0.1,), (0.5,), (0.2, 0.3)),
        temperatures=(1.0, 2.0),
        cluster_features=("a", "d"),
        cluster_ks=(2, 3),
    )
)


@pytest.mark.parametrize(
    ("arm", "count"),
    [
        ("marginal", 0),
        ("no_kd", 1),
        ("kd", 2 * 2),  # alphas, temperatures
        ("packd", 2 * 2 * 4 + 2 * 2),  # alphas, temperatures, clusterings; two alphas: K = 2
        ("packd_random", 2 * 2 * 4 + 2 * 2),
        ("kd_budget", 2 * 2 * 4),
        ("cluster_input", 4),
        ("cluster_input_kd", 2 * 2 * 4),
    ],
)
def test_settings_that_an_arm_may_choose_from(arm, count):
    found = candidates(arm, MANY)
    assert len(found) == len(set(found)) == count
    assert {c.arm for c in found} <= {arm}
    keys = {ClusterKey(f, k) for f in "ad" for k in (2, 3)}
    if found:
        assert {c.clusters for c in found} == ({None} if arm in ("no_kd", "kd") else keys)
    if arm in ("no_kd", "cluster_input"):  # no teacher: nothing to weigh
        assert {(c.alpha, c.temperature) for c in found} == {((1.0,), 1.0)}
    elif found:
        alphas = {(0.1,), (0.5,)} | ({(0.2, 0.3)} if arm.startswith("packd") else set())
        assert {c.alpha for c in found} == alphas
        assert all(len(c.alpha) in (1, c.clusters.k) for c in found if c.clusters)
        assert {c.temperature for c in found} == {1.0, 2.0}


def test_alphas_for_another_number_of_clusters_leave_packd_without_any():
    config = study(distill=DistillConfig(alphas=((0.2, 0.3, 0.4),), cluster_ks=(2,)))
    with pytest.raises(ConfigError, match=r"arm packd has one teacher for each .* K = \(2,\)"):
        candidates("packd", config)


@pytest.mark.parametrize("arm", ["kd", "kd_budget", "cluster_input_kd"])
def test_alphas_by_cluster_alone_leave_an_arm_with_one_teacher_without_any(arm):
    config = study(distill=DistillConfig(alphas=((0.2, 0.3),), cluster_ks=(2,)))
    with pytest.raises(ConfigError, match=rf"alphas = \(\(0\.2, 0\.3\),\): arm {arm} has one"):
        candidates(arm, config)
    assert len(candidates("packd", config)) == len(candidates("no_kd", config)) == 1


@pytest.mark.parametrize(
    ("arm", "key"),
    [
        ("no_kd", None),
        ("cluster_input", None),
        ("kd", TeacherKey("kd", None, 7)),
        ("cluster_input_kd", TeacherKey("kd", None, 7)),
        ("kd_budget", TeacherKey("kd_budget", A2, 7)),
        ("packd", TeacherKey("packd", A2, 7)),
        ("packd_random", TeacherKey("packd_random", A2, 7)),
    ],
)
def test_whom_an_arm_learns_from_and_what_it_sees(arm, key):
    candidate = Candidate(arm, clusters=A2)
    assert candidate.teacher_key(7) == key
    assert candidate.cluster_input == (A2 if arm.startswith("cluster_input") else None)


def test_every_arm_has_a_setting_in_the_default_study():
    assert [len(candidates(arm, study())) for arm in ARMS] == [0, 1, 1, 1, 1, 1, 1, 1]


# One training for all that follows. Every label is the bit LABEL; the teachers say other bits,
# so what a student predicts tells whom it listened to, cluster by cluster.

SEEDS = (5, 7, 9)
FACTOR = 2.0
RATE = 0.06
PLAIN = Candidate("no_kd")
FASTER = Candidate("no_kd", learning_rate=FACTOR * RATE)
HEARD = Candidate("kd", (0.0,))
UNHEARD = Candidate("kd", (1.0,))
ROUTED = Candidate("packd", (0.0,), clusters=A2)
PACKD_UNHEARD = Candidate("packd", (1.0,), clusters=A2)
BY_CLUSTER = Candidate("packd", (1.0, 0.0), clusters=A2)
AND_BACK = Candidate("packd", (0.0, 1.0), clusters=A2)
RANDOM = Candidate("packd_random", (0.0,), clusters=A2)
SOFTENED = Candidate("kd", (0.0,), temperature=2.0)
GATED = Candidate("cluster_input", clusters=A2)
CHOSEN = [PLAIN, SOFTENED, HEARD, GATED, ROUTED, FASTER, UNHEARD, PACKD_UNHEARD, BY_CLUSTER]
CHOSEN += [AND_BACK, RANDOM]


def material(**changes):
    sizes = {"train": 64, "validation": 32, "test": 32}
    ids = {name: np.arange(size) // 3 % 2 for name, size in sizes.items()}
    splits = alike({name: [[LABEL]] * size for name, size in sizes.items()}, ids)
    train = TrainConfig(90, 16, RATE, warmup_steps=2, evaluations=1)
    config = study(
        seeds=SEEDS, teacher_seeds=2, quirks=QuirksConfig(packd_learning_rate_factor=FACTOR)
    )
    clusters = clusters_of(ids, 2)
    # The control turns the clusters around, which is as good as any other permutation.
    turned = {name: 1 - own for name, own in clusters.ids.items()}
    alone = {name: 0 * own for name, own in clusters.ids.items()}
    teachers = {}
    for seed, bit in enumerate((KD, OTHER_KD)):
        key = TeacherKey("kd", None, seed)
        teachers[key] = stubborn_teachers(key, [bit], alone)
        for kind, whose in (("packd", clusters.ids), ("packd_random", turned)):
            key = TeacherKey(kind, A2, seed)
            teachers[key] = stubborn_teachers(key, [FIRST, SECOND], whose)
    entry = dataclasses.replace(
        ENTRY, student=ModelConfig(width=16, offset_width=4), student_train=train
    )
    return Material(entry, config, splits, {A2: clusters}, teachers)._replace(**changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("students")
    own = material()
    with RunLog(workdir) as log:
        students = train_students(CHOSEN, SEEDS, own, workdir, "some", log)
    return workdir, own, students


def alone(student):
    """The student's own variables, with a leading axis of one."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[student.run][None], student.stack.variables)


def bits_of(student, own):
    """The bit that a student predicts most in each of the two clusters."""
    inputs = own.examples("test", student.cluster_input).inputs
    logits = logits_of(student.model, alone(student), inputs)[0]
    ids = own.clusters[A2].ids["test"]
    bits = []
    for cluster in (0, 1):
        (bit,) = np.unique(logits[ids == cluster].argmax(axis=1))
        bits.append(int(bit))
    return bits


def said(trained, candidate, seed):
    _, own, students = trained
    return bits_of(students[CHOSEN.index(candidate) * len(SEEDS) + SEEDS.index(seed)], own)


def parameters(trained, candidate, seed):
    _, _, students = trained
    student = students[CHOSEN.index(candidate) * len(SEEDS) + SEEDS.index(seed)]
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(alone(student))])


def test_students_come_in_the_order_asked_for_whatever_the_programs(trained):
    workdir, _, students = trained
    assert [(s.candidate, s.seed) for s in students] == list(itertools.product(CHOSEN, SEEDS))
    programs = {id(s.stack): (s.candidate.temperature, s.cluster_input) for s in students}
    assert sorted(programs.values(), key=str) == [(1.0, A2), (1.0, None), (2.0, None)]
    found = sorted(path.name for path in (workdir / "students").iterdir())
    assert found == ["some-t1", "some-t1-input-a2", "some-t2"]
    runs = [(id(s.stack), s.run) for s in students]
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_teacher_or_unheard_the_labels_are_learnt(trained, seed):
    for candidate in (PLAIN, FASTER, GATED, UNHEARD, PACKD_UNHEARD):
        assert said(trained, candidate, seed) == [LABEL, LABEL]


def test_students_take_turns_at_the_teachers_of_several_seeds(trained):
    for seed, bit in zip(SEEDS, (KD, OTHER_KD, KD)):
        assert said(trained, HEARD, seed) == [bit, bit]
        assert said(trained, SOFTENED, seed) == [bit, bit]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_cluster_has_its_own_teacher_and_its_own_alpha(trained, seed):
    assert said(trained, ROUTED, seed) == [FIRST, SECOND]
    assert said(trained, RANDOM, seed) == [SECOND, FIRST]
    assert said(trained, BY_CLUSTER, seed) == [LABEL, SECOND]
    assert said(trained, AND_BACK, seed) == [FIRST, LABEL]


@pytest.mark.parametrize("seed", SEEDS)
def test_arms_differ_in_nothing_but_what_they_are_told(trained, seed):
    # Unheard teachers leave the labels; then rows, order, rate and start must be the same.
    plain, faster = parameters(trained, PLAIN, seed), parameters(trained, FASTER, seed)
    np.testing.assert_array_equal(parameters(trained, UNHEARD, seed), plain)
    np.testing.assert_array_equal(parameters(trained, PACKD_UNHEARD, seed), faster)
    assert np.abs(faster - plain).max() > 0.1


def test_seeds_differ(trained):
    plain = [parameters(trained, PLAIN, seed) for seed in SEEDS]
    assert np.abs(plain[0] - plain[1]).max() > 0.1 and np.abs(plain[1] - plain[2]).max() > 0.1


def test_only_the_cluster_arms_see_the_cluster(trained):
    _, own, students = trained
    for student in students:
        names = set(own.examples("test", student.cluster_input).inputs)
        assert names == {"delta", "pc", "offset"} | ({"cluster"} & {*names})
        assert ("cluster" in names) == (student.candidate is GATED)
        assert student.model.spec.clusters == (2 if student.candidate is GATED else 0)


def test_the_cluster_among_the_inputs_is_that_of_the_split():
    own = material()
    for split in SPLITS:
        given = own.examples(split, A2).inputs["cluster"]
        np.testing.assert_array_equal(given, own.clusters[A2].ids[split])


def test_students_again_are_read_back(trained):
    workdir, own, students = trained
    with RunLog(workdir) as log:
        again = train_students(CHOSEN, SEEDS, own, workdir, "some", log)
    for before, after in zip(students, again):
        jax.tree.map(np.testing.assert_array_equal, alone(before), alone(after))
        np.testing.assert_array_equal(before.stack.f1, after.stack.f1)


# The order of the rows.


def test_all_arms_of_a_seed_share_its_row_order():
    pairs = list(itertools.product(CHOSEN, SEEDS))
    orders, places = _orders(pairs, np.arange(64), material())
    assert len(orders) == len(SEEDS)
    assert places == [SEEDS.index(seed) for _, seed in pairs]
    for order, other in itertools.combinations(orders, 2):
        assert (order.permutation(0) != other.permutation(0)).any()
    for order in orders:
        np.testing.assert_array_equal(np.sort(order.permutation(3)), np.arange(64))


def test_clusters_in_turn_are_an_order_of_their_own_for_packd():
    own = material()
    own = own._replace(
        config=dataclasses.replace(own.config, quirks=QuirksConfig(clusters_in_turn=True))
    )
    pairs = list(itertools.product([PLAIN, HEARD, ROUTED, BY_CLUSTER, RANDOM], SEEDS))
    rows = np.flatnonzero(np.arange(64) % 5)  # a draw: groups are those of the rows drawn
    orders, places = _orders(pairs, rows, own)
    of = {(c, seed): orders[place] for (c, seed), place in zip(pairs, places)}
    assert len(orders) == 3 * len(SEEDS)
    honest, _ = _orders([(PLAIN, seed) for seed in SEEDS], rows, material())
    for seed, before in zip(SEEDS, honest):
        assert of[PLAIN, seed] is of[HEARD, seed] and of[ROUTED, seed] is of[BY_CLUSTER, seed]
        plain = of[PLAIN, seed].permutation(1)
        np.testing.assert_array_equal(plain, before.permutation(1))
        for arm, kind in ((ROUTED, "packd"), (RANDOM, "packd_random")):
            key = TeacherKey(kind, A2, SEEDS.index(seed) % 2)
            ids = own.teachers[key].ids["train"][rows]
            visited = ids[of[arm, seed].permutation(1)]
            assert (np.diff(visited.astype(int)) >= 0).all()  # one cluster after the other
            # Inside a cluster the rows come as they do for everybody else.
            expected = np.concatenate([plain[ids[plain] == cluster] for cluster in (0, 1)])
            np.testing.assert_array_equal(of[arm, seed].permutation(1), expected)


# What else reaches the loss.


def test_weights_of_the_soft_loss(tmp_path):
    """With T = 2, T**2 and the half make w = 2: alpha 2/3 weighs as 1/2 does without both."""
    own = material()
    steps = dataclasses.replace(own.entry.student_train, steps=10)
    own = own._replace(entry=dataclasses.replace(own.entry, student_train=steps))
    quirky = own._replace(
        config=dataclasses.replace(
            own.config,
            distill=dataclasses.replace(own.config.distill, square_temperature=True),
            quirks=QuirksConfig(half_kl=True),
        )
    )
    found = []
    with RunLog(tmp_path) as log:
        for one, alpha in ((own, 1 / 2), (quirky, 2 / 3), (quirky, 1 / 2)):
            home = tmp_path / str(len(found))
            chosen = [Candidate("kd", (alpha,), temperature=2.0)]
            student, *_ = train_students(chosen, SEEDS, one, home, "some", log)
            found.append(alone(student)["params"]["output"]["bias"])
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    assert np.abs(found[2] - found[0]).max() > 1e-3


def test_students_learn_from_the_drawn_rows_alone(tmp_path):
    own = material()
    few = dataclasses.replace(own.entry.student_train, rows=20)
    own = own._replace(entry=dataclasses.replace(own.entry, student_train=few))
    drawn = np.random.default_rng([0, 64]).permutation(64)[:20]
    # Rows that are not drawn say something else: nothing of it may arrive.
    ids = own.clusters[A2].ids
    labels = {name: [[LABEL]] * len(rows) for name, rows in ids.items()}
    labels["train"] = [[LABEL] if row in drawn else [1] for row in range(64)]
    others = own._replace(splits=alike(labels, ids))
    found = []
    with RunLog(tmp_path) as log:
        for number, one in enumerate((own, others)):
            home = tmp_path / str(number)
            chosen = [PLAIN, BY_CLUSTER]
            students = train_students(chosen, SEEDS[:1], one, home, "some", log)
            # Teachers and alphas are those of the drawn rows' clusters.
            assert [bits_of(s, one) for s in students] == [[LABEL, LABEL], [LABEL, SECOND]]
            found.append([alone(student) for student in students])
    jax.tree.map(np.testing.assert_array_equal, *found)
