"""Configurations: round trips, typos, wrong types and bad values, each named by its full path."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from packd_jax.config import (
    ARMS,
    MODEL_FAMILIES,
    CacheLevelConfig,
    ClusterConfig,
    Config,
    ConfigError,
    DistillConfig,
    EntryConfig,
    FeatureConfig,
    ModelConfig,
    StreamConfig,
    TraceConfig,
    TrainConfig,
    WorkloadConfig,
    from_config_dict,
    to_json_dict,
)

VARIED = Config(
    name="varied",
    trace=TraceConfig(
        paths=("a.txt", "b.xz"), unit="percent", train=(0, 60), validation=(60, 80), test=(80, 100)
    ),
    entries={
        "one": EntryConfig(features=FeatureConfig(encoding="segments", look_back=3)),
        "two": EntryConfig(student_train=TrainConfig(steps=7, evaluations=7, learning_rate=0.5)),
    },
    distill=DistillConfig(alphas=((0.5,), (0.1, 0.9)), temperatures=(1.0, 4.0)),
    arms=("no_kd", "kd"),
    seeds=(5, 6),
)


@pytest.mark.parametrize("config", [Config(), VARIED], ids=["default", "varied"])
@pytest.mark.parametrize(
    "through",
    [
        lambda values: values,
        lambda values: json.loads(json.dumps(values)),
        lambda values: ConfigDict(values, convert_dict=True),
    ],
    ids=["dict", "json", "ConfigDict"],
)
def test_a_config_survives_the_round_trip(config, through):
    assert from_config_dict(Config, through(to_json_dict(config))) == config


families = st.builds(
    ModelConfig,
    family=st.sampled_from(MODEL_FAMILIES),
    width=st.integers(1, 16).map(lambda n: 4 * n),
    heads=st.sampled_from([1, 2, 4]),
    block=st.sampled_from(["basic", "bottleneck"]),
)
features = st.builds(
    FeatureConfig,
    encoding=st.sampled_from(["segments", "tokens"]),
    look_back=st.integers(1, 256),
    delta_bound=st.integers(1, 64).map(lambda n: 4 * n),
    keep_empty_labels=st.booleans(),
    delta_exact=st.integers(1, 69),
    delta_log_buckets=st.integers(1, 58),
)
budgets = st.builds(
    TrainConfig,
    steps=st.integers(10, 10**6),
    learning_rate=st.floats(1e-9, 1e3),
    evaluations=st.integers(1, 10),
    schedule=st.sampled_from(["cosine", "constant"]),
)


@given(st.builds(EntryConfig, features, families, families, budgets, budgets))
def test_any_entry_survives_json(entry):
    values = json.loads(json.dumps(to_json_dict(entry)))
    assert from_config_dict(EntryConfig, values) == entry


def test_missing_keys_keep_their_defaults():
    config = from_config_dict(Config, {"trace": {"workload": {"scale": 9}}})
    assert config == Config(trace=TraceConfig(workload=WorkloadConfig(scale=9)))


def test_missing_keys_of_a_group_keep_the_defaults_of_where_it_is():
    values = {
        "trace": {"workload": {"cache": {"l2": {"latency_cycles": 9}}}},
        "entries": {"x": {"teacher": {"depth": 2}, "teacher_train": {"steps": 50}}},
    }
    config, usual = from_config_dict(Config, values), EntryConfig()
    assert config.trace.workload.cache.l2 == CacheLevelConfig(512 * 1024, 8, 9)
    assert config.entries["x"].teacher == dataclasses.replace(usual.teacher, depth=2)
    assert config.entries["x"].teacher_train == dataclasses.replace(usual.teacher_train, steps=50)


def test_whole_numbers_pass_between_int_and_float():
    config = from_config_dict(TrainConfig, {"steps": 100.0, "learning_rate": 1})
    assert (config.steps, type(config.steps)) == (100, int)
    assert (config.learning_rate, type(config.learning_rate)) == (1.0, float)
    assert from_config_dict(DistillConfig, {"alphas": [[0], [1, 0.5]]}).alphas == (
        (0.0,),
        (1.0, 0.5),
    )


def test_built_parts_are_taken_as_they_are():
    entry = EntryConfig(student=ModelConfig(width=12))
    assert from_config_dict(Config, {"entries": {"x": entry}}).entries == {"x": entry}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sedes": [1]}, r"^config\.sedes: no such key; did you mean config\.seeds\?$"),
        (
            {"entries": {"x": {"student_train": {"learning_rat": 0.1}}}},
            r"^config\.entries\.x\.student_train\.learning_rat: no such key; did you mean"
            r" config\.entries\.x\.student_train\.learning_rate\?$",
        ),
        ({"trace": {"zzz": 1}}, r"^config\.trace\.zzz: no such key; known keys: paths, test, "),
        ({"trace": {"workload": {"cache": {"l1": {}}}}}, r"did you mean .*\.workload\.cache\.l1d"),
    ],
)
def test_a_typo_names_the_nearest_key(values, message):
    with pytest.raises(ConfigError, match=message):
        from_config_dict(Config, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, r"^config\.name = 3: expected str, given int$"),
        ({"seeds": [0, "1"]}, r"^config\.seeds\[1\] = '1': expected int, given str$"),
        ({"seeds": [True]}, r"^config\.seeds\[0\] = True: expected int, given bool$"),
        ({"seeds": 3}, r"^config\.seeds = 3: expected a list of values$"),
        ({"arms": "kd"}, r"^config\.arms = 'kd': expected a list of values$"),
        ({"tune_seeds": 1.5}, r"^config\.tune_seeds = 1.5: expected int, given float$"),
        ({"trace": {"train": [1, 2, 3]}}, r"^config\.trace\.train = \[1, 2, 3\]: expected 2 val"),
        ({"trace": 5}, r"^config\.trace = 5: expected a group of keys$"),
        ({"entries": ["x"]}, r"^config\.entries = \['x'\]: expected named groups$"),
        ({"quirks": {"half_kl": 1}}, r"^config\.quirks\.half_kl = 1: expected bool, given int$"),
        (
            {"distill": {"alphas": [[0.1], ["a"]]}},
            r"^config\.distill\.alphas\[1\]\[0\] = 'a': expected float, given str$",
        ),
        (
            {"distill": {"temperatures": [True]}},
            r"^config\.distill\.temperatures\[0\] = True: expected float, given bool$",
        ),
        ({"entries": {"x": {"student": {"width": None}}}}, r"x\.student\.width = None: expected i"),
    ],
)
def test_a_wrong_type_is_refused_where_it_is(values, message):
    with pytest.raises(ConfigError, match=message):
        from_config_dict(Config, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": []}, r"^config\.seeds = \(\): expected distinct seeds"),
        ({"seeds": [1, 1]}, r"^config\.seeds = \(1, 1\): expected distinct seeds"),
        ({"seeds": [-1]}, r"^config\.seeds = \(-1,\): expected .*0 or more"),
        ({"arms": ["teacher"]}, r"^config\.arms = 'teacher': expected names out of"),
        ({"tune_seeds": 4}, r"^config\.tune_seeds = 4: expected 1 to 3$"),
        ({"teacher_seeds": 0}, r"^config\.teacher_seeds = 0: expected at least 1$"),
        ({"entries": {}}, r"^config\.entries = {}: expected at least one entry$"),
        ({"trace": {"unit": "rowz"}}, r"^config\.trace\.unit = 'rowz': expected instructions"),
        ({"trace": {"train": [5, 5]}}, r"^config\.trace\.train = \(5, 5\): expected \(start"),
        ({"trace": {"train": [0, 7_500_000]}}, r"^config\.trace\.validation = .*time order"),
        ({"trace": {"unit": "percent"}}, r"^config\.trace\.train = .*expected .*100"),
        ({"trace": {"workload": {"scale": 2}}}, r"^config\.trace\.workload\.scale = 2: expected 4"),
        (
            {"trace": {"workload": {"cache": {"l2": {"ways": 7}}}}},
            r"^config\.trace\.workload\.cache\.l2\.size_bytes = 524288: expected 64 B blocks x 7",
        ),
        (
            {"entries": {"x": {"features": {"look_back": 0}}}},
            r"^config\.entries\.x\.features\.look_back = 0: expected 1 to 256$",
        ),
        (
            {"entries": {"x": {"features": {"delta_bound": 6}}}},
            r"^config\.entries\.x\.features\.delta_bound = 6: expected a positive multiple of 4",
        ),
        (
            {"entries": {"x": {"teacher": {"family": "mlp"}}}},
            r"^config\.entries\.x\.teacher\.family = 'mlp': expected one of",
        ),
        (
            {"entries": {"x": {"student_train": {"steps": 3}}}},
            r"^config\.entries\.x\.student_train\.evaluations = 6: expected at most steps = 3$",
        ),
        ({"clusters": {"k": 0}}, r"^config\.clusters\.k = 0: expected 1 to 16$"),
        ({"distill": {"cluster_ks": [3, 99]}}, r"^config\.distill\.cluster_ks = .*99.*1 to 16"),
        (
            {"distill": {"cluster_features": ["d", "z"]}},
            r"^config\.distill\.cluster_features = .*z",
        ),
        ({"distill": {"alphas": [[0.5], [1.5]]}}, r"^config\.distill\.alphas = .*in \[0, 1\]$"),
        ({"distill": {"alphas": [[]]}}, r"^config\.distill\.alphas"),
        ({"distill": {"temperatures": [0]}}, r"^config\.distill\.temperatures = .*above 0$"),
        ({"distill": {"soft_dtype": "int4"}}, r"^config\.distill\.soft_dtype = 'int4': expected f"),
    ],
)
def test_a_bad_value_is_refused_where_it_is(values, message):
    with pytest.raises(ConfigError, match=message):
        from_config_dict(Config, values)


@pytest.mark.parametrize(
    "build",
    [
        lambda: FeatureConfig(encoding="words"),
        lambda: FeatureConfig(delta_from="next"),
        lambda: FeatureConfig(horizon=0),
        lambda: FeatureConfig(delta_exact=0),
        lambda: FeatureConfig(delta_exact=116, delta_log_buckets=12),
        lambda: FeatureConfig(pc_vocabulary=249, pc_hash_buckets=8),
        lambda: FeatureConfig(pc_hash_buckets=0),
        lambda: FeatureConfig(pc_vocabulary=-1),
        lambda: FeatureConfig(local_confidence=True),
        lambda: FeatureConfig(popularity_entries=48),
        lambda: FeatureConfig(popularity_entries=2**21),
        lambda: ModelConfig(width=6, heads=4),
        lambda: ModelConfig(depth=0),
        lambda: ModelConfig(block="wide"),
        lambda: TrainConfig(learning_rate=0.0),
        lambda: TrainConfig(warmup_steps=-1),
        lambda: TrainConfig(schedule="step"),
        lambda: TrainConfig(execution="jit"),
        lambda: ClusterConfig(minimum_share=1.0),
        lambda: ClusterConfig(feature="x"),
        lambda: ClusterConfig(k=3, sample_rows=2),
        lambda: StreamConfig(in_memory_rows=-1),
        lambda: StreamConfig(threads=-1),
        lambda: WorkloadConfig(kernel="dfs"),
        lambda: WorkloadConfig(instructions=0),
        lambda: CacheLevelConfig(size_bytes=64 * 12 * 3),
        lambda: DistillConfig(cluster_ks=()),
    ],
)
def test_every_class_checks_itself(build):
    with pytest.raises(ConfigError, match=r"^config\..* = .*: expected "):
        build()


def test_the_file_that_a_config_is_from_is_named():
    with pytest.raises(ConfigError, match=r"^run/config\.json\.seedz: .*run/config\.json\.seeds\?"):
        from_config_dict(Config, {"seedz": []}, "run/config.json")


def test_sizes_that_follow_from_features():
    features = FeatureConfig(
        delta_bound=64, delta_exact=5, delta_log_buckets=3, pc_vocabulary=10, pc_hash_buckets=4
    )
    assert features.label_bits == 128
    assert features.delta_vocabulary == 1 + 5 + 5 + 3 + 3
    assert features.pc_tokens == 14
    largest = FeatureConfig(delta_exact=115, delta_log_buckets=12)  # refused with 116, above
    assert largest.delta_vocabulary == 255


def test_stages_are_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().width = 3
    assert hash(ModelConfig(width=5)) == hash(ModelConfig(width=5))
    assert Config().arms == ARMS


def test_state_is_the_window_and_the_tables():
    features = FeatureConfig(look_back=3)
    assert features.state_bits == 3 * (42 + 8)
    local = dataclasses.replace(features, local_deltas=2, local_entries=16)
    assert local.state_bits == 150 + 16 * (16 + 42 + 2 * 8)
    sure = dataclasses.replace(local, local_confidence=True)
    assert sure.state_bits == local.state_bits + 16 * 3
    popular = dataclasses.replace(features, popularity_entries=1024)
    assert popular.popularity_period == 2048
    assert popular.state_bits == 150 + 4 * 1024 + 11  # and a counter of 2,048 loads
    assert dataclasses.replace(sure, encoding="segments").state_bits == 3 * 42
