"""Sweeps: axes and points, programs that several points share, resumption, the front."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_study import study, trace

from packd_jax import results, sweep
from packd_jax.checkpoints import restore_checkpoint
from packd_jax.config import ConfigError
from packd_jax.protocol import prepare
from packd_jax.run_log import RunLog
from packd_jax.splits import encode_splits, load_sources
from packd_jax.students import Candidate, train_students
from packd_jax.sweep_table import append_rows, read_rows, write_trial
from packd_jax.teachers import ClusterKey
from packd_jax.traces.mldpc import write_trace

RATE = "entries.tokens.student_train.learning_rate"
TEACHERS = "entries.tokens.teacher_train.learning_rate"
WIDTH = "entries.tokens.student.width"
ALPHAS = "distill.alphas"

# Axes and points.

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
fields = st.text("abc_.-9", min_size=1).filter(lambda field: not field.startswith("config."))


@given(fields, st.lists(values, min_size=1, max_size=4), st.sampled_from([tuple, list]))
def test_an_axis_is_read_as_it_is_written(field, axis, kind):
    assert sweep.parse_axis(f"{field}={kind(axis)!r}") == (field, tuple(axis))


def test_an_axis_may_begin_with_config():
    assert sweep.parse_axis("config.seeds=((0,), (1, 2))") == ("seeds", ((0,), (1, 2)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b=",
        "a.b=3",
        "a.b=(3)",
        "a.b=()",
        "a.b=[]",
        "a.b='ab'",
        "a.b={1, 2}",
        "a.b=(1, 2",
        "a.b=(1, x)",
        "a.b=(1, open('f'))",
        "a.b=[{[]: 1}]",  # no dictionary may have such a key
        "a.b=" + "(" * 5000,
        "a.b=" + "-" * 100_000 + "1",
    ],
)
def test_what_is_no_axis(text):
    with pytest.raises(ConfigError) as caught:
        sweep.parse_axis(text)
    assert str(caught.value) == f"axis {text!r}: expected FIELD=(value, value, ...)"


@given(st.text())
def test_any_text_is_an_axis_or_an_error_of_its_own(text):
    try:
        field, axis = sweep.parse_axis(text)
    except ConfigError:
        return
    assert isinstance(field, str) and isinstance(axis, tuple) and axis


def test_a_grid_is_every_combination():
    axes = {"a": (1, 2), "b": ("x",), "c": (True, False)}
    assert sweep.grid(axes) == [
        {"a": 1, "b": "x", "c": True},
        {"a": 1, "b": "x", "c": False},
        {"a": 2, "b": "x", "c": True},
        {"a": 2, "b": "x", "c": False},
    ]
    assert sweep.grid({}) == [{}]


def test_random_points_are_different_ones_of_the_grid():
    axes = {"a": range(5), "b": range(4)}
    everything = sweep.grid(axes)
    drawn = sweep.random_points(axes, 7, seed=0)
    places = [everything.index(point) for point in drawn]
    assert len(places) == 7 and places == sorted(set(places))
    assert drawn == sweep.random_points(axes, 7, seed=0) != sweep.random_points(axes, 7, seed=1)
    assert sweep.random_points(axes, 100, seed=0) == everything


def test_a_point_replaces_its_fields_alone():
    config = study()
    point = {RATE: 1, ALPHAS: [[0.5]], "seeds": (4,), "trace.unit": "percent"}
    found = sweep.apply_point(config, point)
    assert found.entries["tokens"].student_train.learning_rate == 1.0
    assert found.distill.alphas == ((0.5,),) and found.seeds == (4,)
    back = {RATE: 1e-2, ALPHAS: [[0.1]], "seeds": [0, 1]}
    assert sweep.apply_point(found, back) == config
    assert sweep.apply_point(config, {}) == config


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ({"sedes": (0,)}, "config.sedes: no such key; did you mean config.seeds?"),
        (
            {"entries.tokens.student.widht": 3},
            "config.entries.tokens.student.widht: no such key;"
            " did you mean config.entries.tokens.student.width?",
        ),
        (
            {"entires.tokens.student.width": 3},
            "axis entires.tokens.student.width: config has no group 'entires';"
            " did you mean 'entries'?",
        ),
        (
            {"entries.token.student.width": 3},
            "axis entries.token.student.width: config has no group 'token'; did you mean 'tokens'?",
        ),
        ({"seeds.first": 3}, "axis seeds.first: config has no group 'seeds'; did you"),
        ({"zzz.first": 3}, "axis zzz.first: config has no group 'zzz'; known: name, trace"),
        ({WIDTH: "wide"}, f"config.{WIDTH} = 'wide': expected int, given str"),
        ({WIDTH: 0}, f"config.{WIDTH} = 0: expected at least 1"),
        ({"distill": 3}, "config.distill = 3: expected a group of keys"),
    ],
)
def test_a_wrong_point_says_what_is_wrong(point, told):
    with pytest.raises(ConfigError) as caught:
        sweep.apply_point(study(), point)
    assert str(caught.value).startswith(told)


def test_points_that_one_program_can_run():
    def groups(axes):
        config = study()
        return len({sweep._shape_key(sweep.apply_point(config, p)) for p in sweep.grid(axes)})

    assert groups({RATE: (1e-3, 1e-2), ALPHAS: ([[0.1]], [[0.2], [0.3]])}) == 1
    assert groups({RATE: (1e-3, 1e-2), WIDTH: (1, 2, 3)}) == 3
    assert groups({TEACHERS: (1e-3, 1e-2)}) == 2
    assert groups({"entries.tokens.student_train.rows": (0, 40), "seeds": ([0], [1])}) == 4


# A sweep of four points in one program; in two of them packd has a candidate more.

ARMS = ("marginal", "no_kd", "kd", "packd")
AXES = {RATE: (3e-3, 5e-2), ALPHAS: (((0.1,),), ((0.9,), (0.2, 0.8)))}
COUNTS = {"marginal": (1, 1), "no_kd": (1, 1), "kd": (1, 1), "packd": (1, 2)}


def config_of(workdir, **changes):
    path = workdir / "some.txt"
    if not path.exists():
        write_trace(path, trace())
    place = dataclasses.replace(study().trace, paths=(str(path),))
    return study(**{"arms": ARMS, "trace": place, **changes})


def run(config, points, workdir):
    with RunLog(workdir) as log:
        return sweep.run_sweep(config, points, workdir, log)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep")
    config = config_of(workdir)
    return workdir, config, run(config, sweep.grid(AXES), workdir)


@pytest.fixture(scope="module")
def alone(swept, tmp_path_factory):
    """The same traces, clusters and teachers, prepared without a sweep."""
    workdir, (_, config, _) = tmp_path_factory.mktemp("alone"), swept
    (entry,) = config.entries.values()
    sources = load_sources(config.trace, workdir)
    with RunLog(workdir) as log:
        splits = encode_splits(sources, config.trace, entry.features)
        return sources, prepare(entry, splits, config, workdir, log)


def plain(point):
    return json.loads(json.dumps(point))


def test_every_point_has_its_rows_and_all_share_a_program(swept):
    workdir, _, rows = swept
    assert len(list((workdir / "programs").iterdir())) == 1
    for number, point in enumerate(sweep.grid(AXES)):
        own = [row for row in rows if row["point"] == plain(point)]
        for arm, counts in COUNTS.items():
            some = [row for row in own if row["arm"] == arm]
            assert [row["seed"] for row in some] == [0, 1] * counts[number % 2]
            if arm in ("kd", "packd"):
                alphas = list(plain(point)[ALPHAS])
                expected = [a for a in alphas if arm == "packd" or len(a) == 1]
                assert [row["alpha"] for row in some[::2]] == expected
    assert len(rows) == 2 * 2 * sum(map(sum, COUNTS.values()))
    # Told apart by what follows: only those without a teacher are there twice.
    scores = {row["average_precision"] for row in rows if row["arm"] != "marginal"}
    assert len(scores) == len(rows) - 8 - 4


@pytest.mark.parametrize(
    ("candidate", "seed"),
    [
        (Candidate("kd", (0.9,), learning_rate=3e-3), 0),
        (Candidate("packd", (0.2, 0.8), clusters=ClusterKey("a", 2), learning_rate=5e-2), 1),
        (Candidate("packd", (0.1,), clusters=ClusterKey("a", 2), learning_rate=3e-3), 1),
        (Candidate("no_kd", learning_rate=5e-2), 1),
    ],
)
def test_rows_are_those_of_a_training_of_its_own(swept, alone, candidate, seed, tmp_path):
    *_, rows = swept
    sources, material = alone
    with RunLog(tmp_path) as log:
        students = train_students([candidate], [seed], material, tmp_path, "alone", log)
    (row,) = results.student_rows(
        "tokens",
        students,
        results.judge_on_test(students, material),
        material,
        sources,
        tmp_path,
    )
    found = [
        r
        for r in rows
        if (r["arm"], r["seed"], r["point"][RATE]) == (row["arm"], seed, candidate.learning_rate)
        and r["alpha"] == row["alpha"]
    ]
    assert found
    for one in found:
        for name in ("f1", "validation_f1", "average_precision", "threshold"):
            assert one[name] == pytest.approx(row[name], abs=1e-4), name


def test_every_row_of_a_student_has_a_checkpoint_of_its_own(swept):
    workdir, _, rows = swept
    assert all(row["checkpoint"] is None for row in rows if row["arm"] == "marginal")
    trained = [row for row in rows if row["arm"] != "marginal"]
    assert len({row["checkpoint"] for row in trained}) == len(trained)
    for row in trained[::3]:
        _, meta = restore_checkpoint(workdir / row["checkpoint"])
        config, judged = meta["config"], meta["metrics"]
        assert (judged["f1"], judged["validation_f1"]) == (row["f1"], row["validation_f1"])
        assert (config["arm"], config["seed"], config["alpha"]) == (
            row["arm"],
            row["seed"],
            row["alpha"],
        )
        assert config["entry"]["student_train"]["learning_rate"] == row["point"][RATE]


def test_what_is_there_is_not_run_again(swept):
    workdir, config, rows = swept
    table = workdir / "sweep.jsonl"
    before = table.read_text()
    assert run(config, sweep.grid(AXES), workdir) == rows
    some = sweep.grid(AXES)[1::2]
    wanted = [plain(point) for point in some]
    assert run(config, some, workdir) == [row for row in rows if row["point"] in wanted]
    assert table.read_text() == before


def test_an_interrupted_sweep_runs_what_is_missing(tmp_path):
    config = config_of(tmp_path, arms=("no_kd",), seeds=(0,))
    points = [{TEACHERS: 1e-3}, {TEACHERS: 1e-2}]  # two programs
    whole = run(config, points, tmp_path)
    table = tmp_path / "sweep.jsonl"
    first, second = table.read_text().splitlines(keepends=True)
    table.write_text(first.replace('"f1": ', '"f1": 1', 1) + second[: len(second) // 2])
    changed = json.loads(first.replace('"f1": ', '"f1": 1', 1))
    rows = run(config, points, tmp_path)
    assert rows[0] == changed != whole[0]  # read, not run
    assert rows[1] == whole[1]
    assert len(table.read_text().splitlines()) == 2
    assert len(list((tmp_path / "programs").iterdir())) == 2


def test_rows_that_trials_left_are_taken_and_stopped_points_are_trained(tmp_path):
    config = config_of(tmp_path, arms=("no_kd",), seeds=(0,))
    points = [{RATE: 1e-3}, {RATE: 1e-2}]
    names = [sweep.identity(sweep.apply_point(config, point)) for point in points]
    left = {"config": names[0], "point": points[0], "validation_f1": 0.1}
    write_trial(tmp_path, names[0], [left])
    stopped = {"config": names[1], "stopped": {"evaluation": 1, "of": 2}}
    append_rows(tmp_path / "sweep.jsonl", [stopped])
    rows = run(config, points, tmp_path)
    assert rows[0] == left and rows[1]["config"] == names[1] and len(rows) == 2
    assert read_rows(tmp_path / "sweep.jsonl") == [stopped, *rows]


def test_another_configuration_is_another_point(tmp_path):
    config = config_of(tmp_path, arms=("no_kd",), seeds=(0,))
    points = [{ALPHAS: ((0.1,),)}]
    (slow,) = run(config, points, tmp_path)
    (fast,) = run(sweep.apply_point(config, {RATE: 0.05}), points, tmp_path)
    assert slow["point"] == fast["point"] and slow["validation_f1"] != fast["validation_f1"]
    assert [r["seed"] for r in run(config_of(tmp_path, arms=("no_kd",)), points, tmp_path)] == [
        0,
        1,
    ]
    assert run(config, points, tmp_path) == [slow]


def test_a_sweep_of_the_marginal_alone_ends(tmp_path):
    config = config_of(tmp_path, arms=("marginal",))
    points = [{WIDTH: 1}, {WIDTH: 2}]
    rows = run(config, points, tmp_path)
    assert [(row["point"][WIDTH], row["seed"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    before = (tmp_path / "sweep.jsonl").read_text()
    assert run(config, points, tmp_path) == rows
    assert (tmp_path / "sweep.jsonl").read_text() == before


def test_all_points_are_checked_before_the_first_is_run(tmp_path):
    config = config_of(tmp_path, arms=("kd",))
    for bad, told in (({ALPHAS: ((0.1, 0.2),)}, "one teacher"), ({"sedes": (0,)}, "did you mean")):
        with pytest.raises(ConfigError, match=told):
            run(config, [{ALPHAS: ((0.1,),)}, bad], tmp_path)
    assert not (tmp_path / "programs").exists()


# The front.


def row(arm, size, validation, test, point=None, **others):
    place = {"point": point or {}, "entry": "e", "arm": arm}
    size = {"params": size // 4, "bytes": size}
    return {**place, **size, "validation_f1": validation, "f1": test, **others}


def test_the_front_by_hand():
    rows = [
        row("marginal", 32, 0.30, 0.35),
        row("big", 400, 0.50, 0.10, seed=0),
        row("big", 400, 0.75, 0.20, seed=1),
        row("beaten", 400, 0.62, 0.99),  # chosen on validation, whatever test says
        row("dearer", 800, 0.625, 0.99),  # as good as "big", and larger
        row("small", 100, 0.20, 0.90),  # worse than the smaller marginal
        row("small", 100, 0.40, 0.90, point={"x": 1}),
        row("best", 1600, 0.80, 0.50),
    ]
    front = sweep.pareto_front(rows)
    assert [(r["arm"], r["bytes"]) for r in front] == [
        ("marginal", 32),
        ("small", 100),
        ("big", 400),
        ("best", 1600),
    ]
    assert front[1]["point"] == {"x": 1}
    assert front[2]["validation_f1"] == pytest.approx(0.625)
    assert front[2]["f1"] == pytest.approx(0.15)
    assert sweep.pareto_front([]) == []


def test_a_point_that_was_stopped_is_not_in_the_front():
    stopped = row(None, 1, 0.9, None) | {"stopped": {"evaluation": 1, "of": 3}}
    assert sweep.pareto_front([stopped]) == []
    assert [r["arm"] for r in sweep.pareto_front([stopped, row("a", 40, 0.5, 0.5)])] == ["a"]


def test_the_front_may_be_drawn_against_parameters():
    rows = [row("a", 40, 0.5, 0.5) | {"params": 20}, row("b", 80, 0.4, 0.5) | {"params": 10}]
    assert [r["arm"] for r in sweep.pareto_front(rows)] == ["a"]
    assert [r["arm"] for r in sweep.pareto_front(rows, "params")] == ["b", "a"]


def test_candidates_of_an_arm_are_not_averaged():
    rows = [
        row("kd", 40, f1, f1, alpha=[a], seed=s)
        for a, f1 in ((0.1, 0.9), (0.9, 0.1))
        for s in (0, 1)
    ]
    (best,) = sweep.pareto_front(rows)
    assert best["validation_f1"] == 0.9 and best["alpha"] == [0.1]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)).map(
            lambda pair: (float(pair[0]), pair[1] / 10)
        ),
        max_size=12,
    )
)
def test_nothing_beats_the_front_and_the_front_beats_the_rest(points):
    rows = [row("a", c, f1, f1, point={"i": i}) for i, (c, f1) in enumerate(points)]
    front = [(r["bytes"], r["validation_f1"]) for r in sweep.pareto_front(rows)]

    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    assert not any(beats(p, kept) for p in points for kept in front)
    assert all(any(beats(kept, p) or kept == p for kept in front) for p in points)
    assert len(set(front)) == len(front)


def test_the_front_as_text():
    front = [row("marginal", 32, 0.3, 0.35), row("no_kd", 4096, 0.5, 0.25, point={"a.width": 2})]
    lines = sweep.front_table(front).splitlines()
    assert lines[0].split("  ")[-1] == "entry, arm, point"
    assert lines[1].split() == ["8", "32", "0.3000", "0.3500", "e,", "marginal,"]
    assert lines[2].split() == ["1,024", "4,096", "0.5000", "0.2500", "e,", "no_kd,", "width=2"]
    assert len({len(line.split("  e")[0]) for line in lines}) == 1
    taught = row("packd", 4096, 0.5, 0.25, alpha=[0.1], temperature=2.0, clusters="a3")
    line = sweep.front_table([taught]).splitlines()[1]
    assert line.endswith("e, packd, alpha=[0.1], temperature=2.0, clusters=a3")


def test_seeds_are_averaged_as_numpy_does(swept):
    *_, rows = swept
    for one in sweep.pareto_front(rows):
        own = [
            r
            for r in rows
            if all(r.get(k) == one.get(k) for k in ("point", "arm", "alpha", "clusters"))
        ]
        assert len(own) == 2
        assert one["f1"] == pytest.approx(np.mean([r["f1"] for r in own]))
