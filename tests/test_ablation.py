"""The ablation: which quirks are tried on which networks, one at a time, and what is told."""

import dataclasses
import json

import pytest
from small_study import ENTRY, study, trace

from packd_jax.ablation import AUTHORS, ablate_quirks, quirks_table, variants
from packd_jax.config import DistillConfig, QuirksConfig, to_json_dict
from packd_jax.run_log import RunLog
from packd_jax.traces.mldpc import write_trace

ALWAYS = [
    "select_on_test",
    "packd_learning_rate_factor",
    "clusters_in_turn",
    "clusters_unscaled",
    "half_kl",
]


def of_families(student, teacher, features=("a",), **changes):
    entry = dataclasses.replace(
        ENTRY,
        student=dataclasses.replace(ENTRY.student, family=student),
        teacher=dataclasses.replace(ENTRY.teacher, family=teacher),
    )
    distill = DistillConfig(cluster_features=features, cluster_ks=(2,))
    return study(entries={"tokens": entry}, distill=distill, **changes)


def differing(a, b, where=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return [d for k in a for d in differing(a[k], b[k], f"{where}.{k}")]
    return [] if a == b else [where[1:]]


@pytest.mark.parametrize(
    ("student", "teacher", "features", "more"),
    [
        ("token_mlp", "token_mlp", ("a",), set()),
        ("token_mlp", "token_mlp", ("a", "d"), {"delta_clusters_from_pcs"}),
        ("mixer_flat", "mixer_flat", ("d",), {"delta_clusters_from_pcs"}),
        ("resnet", "resnet", ("a",), {"teachers_in_train_mode"}),
        ("token_mlp", "resnet", ("i",), {"teachers_in_train_mode"}),
        ("lstm_flat", "lstm_flat", ("a",), {"lstm_along_batch"}),
        ("lstm_flat", "mixer_flat", ("a",), set()),
        ("lstm", "lstm", ("t",), set()),
    ],
)
def test_quirks_that_can_matter_to_the_networks(student, teacher, features, more):
    config = of_families(student, teacher, features)
    found = dict(variants(config))
    names = {*ALWAYS, *more}
    assert next(iter(found)) == "honest"
    assert [*found][-3:] == ["empty_rows_dropped", "alpha_is_one", "all_quirks"]
    assert [*found][1:-3] == [f.name for f in dataclasses.fields(QuirksConfig) if f.name in names]
    honest = to_json_dict(found["honest"])
    for name in names:
        changed = to_json_dict(found[name])
        assert differing(honest, changed) == [f"quirks.{name}"]
        assert changed["quirks"][name] == getattr(AUTHORS, name)
    dropped = "entries.tokens.features.keep_empty_labels"
    assert differing(honest, to_json_dict(found["empty_rows_dropped"])) == [dropped]
    assert differing(honest, to_json_dict(found["alpha_is_one"])) == ["distill.alphas"]
    assert found["alpha_is_one"].distill.alphas == ((1.0,),)
    together = {f"quirks.{name}" for name in names} | {dropped}
    assert set(differing(honest, to_json_dict(found["all_quirks"]))) == together


def test_the_authors_have_every_quirk():
    honest = QuirksConfig()
    for field in dataclasses.fields(QuirksConfig):
        assert getattr(AUTHORS, field.name) != getattr(honest, field.name) == field.default


def test_honest_is_honest_whatever_the_config_has():
    config = of_families("token_mlp", "token_mlp", quirks=AUTHORS)
    entry = config.entries["tokens"]
    features = dataclasses.replace(entry.features, keep_empty_labels=False)
    quirky = dataclasses.replace(
        config, entries={"tokens": dataclasses.replace(entry, features=features)}
    )
    assert dict(variants(quirky)) == dict(variants(config))
    honest = dict(variants(quirky))["honest"]
    assert honest.quirks == QuirksConfig()
    assert honest.entries["tokens"].features.keep_empty_labels


def test_every_entry_drops_its_empty_rows():
    config = of_families("token_mlp", "token_mlp")
    two = dataclasses.replace(config, entries={"a": ENTRY, "b": ENTRY})
    found = dict(variants(two))["empty_rows_dropped"]
    assert [e.features.keep_empty_labels for e in found.entries.values()] == [False, False]


@pytest.fixture(scope="module")
def ablated(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ablation")
    write_trace(workdir / "some.txt", trace())
    place = dataclasses.replace(study().trace, paths=(str(workdir / "some.txt"),))
    # Narrow and short, and nothing to cluster for: quirks of PaCKD cannot matter.
    config = study(trace=place, arms=("marginal", "no_kd"), seeds=(0, 1))
    with RunLog(workdir) as log:
        return workdir, ablate_quirks(config, workdir, log)


def test_each_variant_is_a_study_of_its_own(ablated):
    workdir, rows = ablated
    names = ["honest", *ALWAYS, "empty_rows_dropped", "alpha_is_one", "all_quirks"]
    assert [(r["variant"], r["arm"]) for r in rows] == [
        (name, arm) for name in names for arm in ("marginal", "no_kd")
    ]
    for row in rows:
        found = json.loads((workdir / "quirks" / row["variant"] / "results.json").read_text())
        own = [r["f1"] for r in found["rows"] if r["arm"] == row["arm"]]
        assert row["f1"] == pytest.approx(sum(own) / 2)
        # Student's t of two values: 12.706 times half their distance.
        assert row["half_width"] == pytest.approx(12.7062 * abs(own[0] - own[1]) / 2, rel=1e-4)
        assert found["config"]["seeds"] == [0, 1]
    assert json.loads((workdir / "quirks.json").read_text()) == rows


def test_gains_are_over_the_plain_student_of_the_same_variant(ablated):
    _, rows = ablated
    f1 = {(row["variant"], row["arm"]): row["f1"] for row in rows}
    for row in rows:
        assert row["over_no_kd"] == pytest.approx(row["f1"] - f1[row["variant"], "no_kd"])
    # What belongs to distillation leaves the plain student as it is; selection does not.
    for name in ("packd_learning_rate_factor", "clusters_in_turn", "half_kl", "alpha_is_one"):
        assert f1[name, "no_kd"] == f1["honest", "no_kd"]
    assert f1["select_on_test", "no_kd"] >= f1["honest", "no_kd"]
    assert f1["select_on_test", "marginal"] >= f1["honest", "marginal"]


def test_the_table_by_hand():
    rows = [
        {"variant": v, "entry": "e", "arm": a, "f1": f1, "half_width": 0.0, "over_no_kd": gain}
        for v, a, f1, gain in (
            ("honest", "no_kd", 0.5, 0.0),
            ("honest", "packd", 0.45, -0.05),
            ("half_kl", "no_kd", 0.5, 0.0),
            ("half_kl", "packd", 0.625, 0.125),
        )
    ]
    lines = [line.split() for line in quirks_table(rows).splitlines()]
    assert lines == [
        ["entry", "quirk", "no_kd", "packd"],
        ["e", "honest", "0.5000", "(+0.0000)", "0.4500", "(-0.0500)"],
        ["e", "half_kl", "0.5000", "(+0.0000)", "0.6250", "(+0.1250)"],
    ]
