"""The distillation map: its cells, teachers from other programs, moved pages, the text."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from small_study import ENTRY, FEATURES, WINDOWS, source, study, trace

from packd_jax import clustering
from packd_jax.checkpoints import restore_checkpoint
from packd_jax.clustering import fit_clusters
from packd_jax.config import ConfigError, DistillConfig
from packd_jax.features import learn_pc_vocabulary
from packd_jax.kd_map import Cell, _in_regime, _shifted, _transplanted, map_table, run_map, star
from packd_jax.protocol import prepare
from packd_jax.run_log import RunLog
from packd_jax.splits import SPLITS, encode_splits, load_sources
from packd_jax.students import Material
from packd_jax.teachers import ClusterKey, TeacherKey
from packd_jax.traces.mldpc import write_trace

A2 = ClusterKey("a", 2)
ARMS = ("no_kd", "kd", "packd", "cluster_input")
PAIRS = [("kd", "no_kd"), ("packd", "no_kd"), ("packd", "kd"), ("cluster_input", "no_kd")]
CELLS = [Cell(0, 4, 2), Cell(60, 4, 2)]
FAR = 60_000  # pages between the two streams, about


def test_the_names_of_cells():
    assert str(Cell(500, 3000, 4)) == "rows500-teacher3000-width4"
    assert str(Cell(0, 60, 1)) == "rowsall-teacher60-width1"


def test_a_star_leaves_its_middle_along_one_axis_at_a_time():
    assert star([500, 300, 0], [3000, 60], [4, 1]) == [
        (500, 3000, 4),
        (300, 3000, 4),
        (0, 3000, 4),
        (500, 60, 4),
        (500, 3000, 1),
        (0, 60, 4),  # and once more with the last number of rows
        (0, 3000, 1),
    ]
    assert star([7], [1], [2]) == [(7, 1, 2)]


def test_a_cell_changes_its_regime_alone():
    config = study()
    entry = _in_regime(config, Cell(60, 4, 3)).entries["tokens"]
    assert (entry.student.width, entry.student_train.rows, entry.teacher_train.steps) == (3, 60, 4)
    same = Cell(0, ENTRY.teacher_train.steps, ENTRY.student.width)
    assert _in_regime(config, same) == config


def config_of(workdir, **changes):
    path = workdir / "some.txt"
    write_trace(path, trace())
    place = dataclasses.replace(WINDOWS, paths=(str(path),))
    distill = DistillConfig(alphas=((0.1,), (0.9,)), cluster_ks=(2,))
    changes = {"arms": ARMS, "teacher_seeds": 2, "distill": distill, **changes}
    return study(trace=place, **changes)


def run(config, cells, workdir, **options):
    with RunLog(workdir) as log:
        return run_map(config, cells, workdir, log, **options)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("map")
    config = config_of(workdir)
    return workdir, config, run(config, CELLS, workdir)


def rows_of(workdir, cell):
    return json.loads((workdir / "cells" / f"{cell}.json").read_text())["rows"]


def f1_of(rows, arm):
    return np.array([row["f1"] for row in rows if row["arm"] == arm])


def test_a_cell_has_one_candidate_of_each_arm_and_its_regime(mapped):
    workdir, _, _ = mapped
    for cell in CELLS:
        rows = rows_of(workdir, cell)
        assert [(r["arm"], r["seed"]) for r in rows] == [(a, s) for a in ARMS for s in (0, 1)]
        home = workdir / "students" / str(cell)
        for row in rows[::2]:
            _, meta = restore_checkpoint(home / row["checkpoint"])
            entry = meta["config"]["entry"]
            assert entry["student"]["width"] == cell.width
            assert entry["student_train"]["rows"] == cell.rows
            assert entry["teacher_train"]["steps"] == cell.teacher_steps
            assert meta["metrics"]["f1"] == row["f1"]
    # Teachers are there once for all cells that have them in common, one for each seed.
    assert sorted(path.name for path in (workdir / "teacher4" / "teachers").iterdir()) == [
        "kd-0",
        "kd-1",
        "packd-a2-0",
        "packd-a2-1",
    ]


def test_differences_by_hand(mapped):
    workdir, _, found = mapped
    assert [(d["rows"], d["first"], d["second"]) for d in found] == [
        (cell.rows, *pair) for cell in CELLS for pair in PAIRS
    ]
    for difference in found:
        (cell,) = (c for c in CELLS if c.rows == difference["rows"])
        rows = rows_of(workdir, cell)
        first, second = (f1_of(rows, difference[name]) for name in ("first", "second"))
        assert difference["difference"] == pytest.approx(np.mean(first - second))
        assert difference["relative"] == pytest.approx(np.mean(first - second) / second.mean())
        assert difference["means"] == {arm: pytest.approx(f1_of(rows, arm).mean()) for arm in ARMS}
        assert difference["params"] == rows[0]["params"]
    written = json.loads((workdir / "map.json").read_text())
    assert written["map"] == found and written["traces"] == [str(workdir / "some.txt")]


def test_a_cell_that_is_done_is_read_back(mapped):
    workdir, config, found = mapped
    path = workdir / "cells" / f"{CELLS[0]}.json"
    before = path.read_text()
    cell = json.loads(before)
    for row in cell["rows"]:
        row["f1"] = 0.75 if row["arm"] == "kd" else 0.5
    path.write_text(json.dumps(cell))
    again = run(config, CELLS, workdir)
    path.write_text(before)
    assert again[0]["difference"] == 0.25 and again[0]["means"]["no_kd"] == 0.5
    assert again[len(PAIRS) :] == found[len(PAIRS) :]


def test_another_map_in_the_same_workdir_is_refused(mapped):
    workdir, config, _ = mapped
    others = [
        (dataclasses.replace(config, seeds=(0, 2)), {}),
        (config, {"shift_pages": 1}),
        (config, {"adapt_rate": 1e-3}),
        (config, {"teacher_paths": [str(workdir / "some.txt")]}),
    ]
    for other, options in others:
        with pytest.raises(ConfigError, match="holds a map of another config"):
            run(other, CELLS, workdir, **options)


def test_a_map_needs_the_plain_student(tmp_path):
    config = config_of(tmp_path, arms=("kd", "packd"))
    with pytest.raises(ConfigError, match=r"config\.arms = \('kd', 'packd'\): expected no_kd"):
        run(config, CELLS, tmp_path)


# Teachers that learnt from another program.


def test_vocabulary_and_clusters_are_those_of_the_teachers_trace(tmp_path):
    config = config_of(tmp_path)
    theirs = trace(400, seed=7, pc=0x9000)
    write_trace(tmp_path / "theirs.txt", theirs)
    cell = CELLS[0]
    run(config, [cell], tmp_path, teacher_paths=[str(tmp_path / "theirs.txt")])
    row = rows_of(tmp_path, cell)[-1]
    _, meta = restore_checkpoint(tmp_path / "students" / str(cell) / row["checkpoint"])
    vocabulary = learn_pc_vocabulary([theirs.pc[:240]], FEATURES.pc_vocabulary)
    assert meta["pc_vocabulary"] == vocabulary.tolist() and min(vocabulary) >= 0x9000
    settings = dataclasses.replace(config.clusters, feature="a", k=2)
    (loaded,) = load_sources(
        dataclasses.replace(WINDOWS, paths=(str(tmp_path / "theirs.txt"),)), tmp_path
    )
    windows = encode_splits([loaded], WINDOWS, FEATURES).train.windows("a", FEATURES.look_back)
    fitted = fit_clusters(windows, settings)
    np.testing.assert_allclose(meta["clusters"]["mean"], fitted.mean)
    np.testing.assert_allclose(meta["clusters"]["centers"], fitted.centers)
    # What was learnt and judged is the student's own trace.
    assert meta["provenance"]["trace"]["paths"] == [str(tmp_path / "some.txt")]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Teachers of trace 7, for the rows of that trace."""
    workdir = tmp_path_factory.mktemp("material")
    config = study(arms=("kd", "packd", "packd_random"))
    splits = encode_splits([source(400, seed=7, pc=0x9000)], WINDOWS, FEATURES)
    with RunLog(workdir) as log:
        return prepare(ENTRY, splits, config, workdir, log)


def test_the_same_teachers_answer_the_rows_of_another_trace(material):
    own = encode_splits([source()], WINDOWS, FEATURES, material.splits.pc_vocabulary)
    found = _transplanted(material, own)
    assert found.splits is own
    fitted = found.clusters[A2].fitted
    assert fitted is material.clusters[A2].fitted
    for key, teachers in found.teachers.items():
        assert teachers.fit is material.teachers[key].fit and teachers.f1 > 0
    for name in SPLITS:
        rows = getattr(own, name).examples.rows
        expected = clustering.assign(fitted, getattr(own, name).windows("a", 3))
        np.testing.assert_array_equal(found.clusters[A2].ids[name], expected)
        ids = {key.kind: teachers.ids[name] for key, teachers in found.teachers.items()}
        np.testing.assert_array_equal(ids["packd"], expected)
        assert ids["kd"].tolist() == [0] * rows
        shares = fitted.counts / fitted.counts.sum()
        assert np.abs(np.bincount(ids["packd_random"]) - rows * shares).max() <= 1
    before = material.teachers[TeacherKey("packd", A2, 0)].ids["test"]
    assert len(before) != len(found.clusters[A2].ids["test"])


# Another address layout.


@pytest.mark.parametrize("encoding", ["tokens", "segments"])
def test_moved_pages_change_what_sees_addresses_alone(encoding):
    features = dataclasses.replace(FEATURES, encoding=encoding)
    entry = dataclasses.replace(ENTRY, features=features)
    sources = [source(), source(300, 1)]
    splits = encode_splits(sources, WINDOWS, features)
    found = _shifted(Material(entry, study(), splits, {}, {}), sources, entry, FAR)
    assert found.train is splits.train and found.validation is splits.validation
    before, after = splits.test.examples, found.test.examples
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before.inputs, after.inputs)
    if encoding == "tokens":
        assert same == {"delta": True, "pc": True, "offset": True}
        np.testing.assert_array_equal(found.pc_vocabulary, splits.pc_vocabulary)
    else:
        assert same == {"segments": False}
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.trace_row, before.trace_row)
    for feature, moved in (("a", 64 * FAR), ("d", 0), ("i", 0), ("t", 0)):
        windows = (s.test.windows(feature, FEATURES.look_back) for s in (splits, found))
        old, new = windows
        np.testing.assert_array_equal(new, old + moved)


def test_clusters_by_block_address_do_not_follow_moved_pages(material):
    sources = [source(400, seed=7, pc=0x9000)]
    found = _transplanted(material, _shifted(material, sources, ENTRY, FAR))
    old, new = (one.clusters[A2].ids for one in (material, found))
    for name in ("train", "validation"):
        np.testing.assert_array_equal(new[name], old[name])
    assert len({*old["test"]}) == 2 and len({*new["test"]}) == 1  # all are in the upper stream


def test_only_arms_that_see_the_cluster_are_judged_otherwise(mapped, tmp_path):
    workdir, *_ = mapped
    cell = CELLS[0]
    run(config_of(tmp_path), [cell], tmp_path, shift_pages=FAR)
    before, after = rows_of(workdir, cell), rows_of(tmp_path, cell)
    for arm in ("no_kd", "kd", "packd"):
        np.testing.assert_array_equal(f1_of(after, arm), f1_of(before, arm))
    assert (f1_of(after, "cluster_input") != f1_of(before, "cluster_input")).all()
    assert [r["validation_f1"] for r in after] == [r["validation_f1"] for r in before]


def test_students_that_learn_on_are_judged_otherwise(mapped, tmp_path):
    workdir, *_ = mapped
    run(config_of(tmp_path), CELLS[:1], tmp_path, adapt_rate=0.05)
    # 110 rows of test are less than a chunk: nothing is complete before it is predicted.
    for one, other in zip(rows_of(workdir, CELLS[0]), rows_of(tmp_path, CELLS[0])):
        assert one["f1"] == pytest.approx(other["f1"], abs=1e-6)
    assert json.loads((tmp_path / "map.json").read_text())["adapt_rate"] == 0.05


def test_the_map_as_text():
    common = {"teacher_steps": 60, "width": 4, "params": 1234, "means": {"no_kd": 0.5}}
    kd = {"first": "kd", "second": "no_kd"}
    gated = {"first": "cluster_input_kd", "second": "cluster_input"}

    def line(difference, half_width):
        relative = {"relative": difference / 0.5, "relative_half_width": half_width / 0.5}
        return {"difference": difference, "half_width": half_width, **relative}

    text = map_table(
        [
            {"rows": 0, **common, **kd, **line(0.05, 0.02)},
            {"rows": 0, **common, **gated, **line(-0.05, 0.1)},
            {"rows": 300, **common, **kd, **line(-0.05, 0.02)},
            {"rows": 300, **common, **gated, **line(0.05, float("nan"))},
        ]
    )
    head, *lines = [line.split() for line in text.splitlines()]
    assert " ".join(head) == "rows teacher params no_kd kd - no_kd ci_kd - ci"
    start = ["60", "1,234", "0.5000"]
    assert lines == [
        ["all", *start, "+10.0", "±", "4.0*", "-10.0", "±", "20.0"],
        ["300", *start, "-10.0", "±", "4.0*", "+10.0", "±", "nan"],
    ]
