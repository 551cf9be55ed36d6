"""The registry of module kinds: drawing, refusing, and a kind of one's own."""

import doctest

import jax
import numpy as np
import pytest

import latency_jax.modules
from latency_jax.modules import (
    Built,
    Cost,
    ModuleKind,
    customized_parameters,
    get_kind,
    kinds,
    register,
    registry,
    sample_config,
)
from latency_jax.parameters import CONDITIONS, Parameter, ParameterError


@pytest.fixture
def clean_registry(monkeypatch):
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))


def test_the_documented_kind_of_ones_own(clean_registry):
    (example, *_) = doctest.DocTestFinder(recurse=False).find(latency_jax.modules)
    failed, attempted = doctest.DocTestRunner().run(example, clear_globs=False)
    assert (failed, attempted) == (0, 10)

    kind, rng = get_kind("group_norm"), np.random.default_rng(0)
    assert kinds()[-1] == "group_norm"
    for _ in range(5):
        config = sample_config("group_norm", rng)
        assert config.parameters["features"] % config.parameters["groups"] == 0
        built, cost = kind.build(config.values), kind.cost(config.values)
        variables = jax.eval_shape(built.module.init, jax.random.key(0), *built.inputs)
        output = jax.eval_shape(built.module.apply, variables, *built.inputs)
        weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables))
        assert cost.weight_bytes == weights
        assert cost.output_bytes == output.size * output.dtype.itemsize
    table = {"features": np.array([8, 16]), "positions": np.array([2.0, 3.0])}
    assert list(kind.cost(table).flops) == [8 * 16, 8 * 48]


@pytest.mark.parametrize("name", kinds())
def test_draws_are_valid_varied_and_the_same_for_a_seed(name):
    configs = [sample_config(name, np.random.default_rng(seed)) for seed in (*range(40), 0)]
    kind, conditions = get_kind(name), [condition.name for condition in CONDITIONS]
    assert configs[-1] == configs[0]
    assert len({config.identity for config in configs}) == 40
    for config in configs:
        assert config.kind == name
        assert list(config.parameters) == [parameter.name for parameter in kind.parameters]
        assert list(config.conditions) == conditions
        assert kind.is_valid(config.values)
        assert kind.cost(config.values).bytes <= kind.max_bytes
    for parameter in kind.parameters:
        assert len({config.parameters[parameter.name] for config in configs}) > 1


@pytest.mark.parametrize("name", kinds())
def test_limits_and_defaults(name):
    kind = get_kind(name)
    assert kind.is_valid({})
    assert not kind.is_valid({}, size_limit=1e-9)
    small = sample_config(name, np.random.default_rng(0), size_limit=1e-3)
    assert kind.cost(small.values).flops <= 1e6


def test_customizations_hold_in_draws():
    specs = {"kernel_size": [3, 5], "padding": "VALID", "groups": "off", "batch_size": "4:8"}
    rng = np.random.default_rng(0)
    configs = [sample_config("conv2d", rng, specs).values for _ in range(30)]
    assert {config["kernel_size"] for config in configs} == {3, 5}
    assert {config["padding"] for config in configs} == {"VALID"}
    assert {config["groups"] for config in configs} == {1}
    assert {config["batch_size"] for config in configs} <= set(range(4, 9))
    inputs = {p.name for p in customized_parameters("conv2d", specs) if p.is_input}
    assert {"kernel_size", "batch_size", "in_channels"} <= inputs
    assert not inputs & {"padding", "groups"}


@pytest.mark.parametrize(
    ("name", "specs", "message"),
    [
        ("conv", {}, r"^kind = 'conv': expected one of .*did you mean 'conv2d'\?"),
        ("conv2d", {"kernel": 3}, r"^kind 'conv2d': parameter = 'kernel': .*mean 'kernel_size'\?"),
        (
            "add",
            {"features": 8192, "positions": 65536},
            r"^add = .*work of at most 1\.25e\+09 .*bytes",
        ),
        (
            "conv2d",
            {"kernel_size": 7, "input_size": 4, "padding": "VALID"},
            r"^conv2d = .*expected values that go together",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, specs, message):
    with pytest.raises(ParameterError, match=message):
        sample_config(name, np.random.default_rng(0), specs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernelsize": 3}, r"^kind 'conv2d': parameter = 'kernelsize': .*mean 'kernel_size'\?"),
        ({"stride": 0}, r"^conv2d\.stride = 0: expected int from 1 to 32$"),
        ({"dtype": "int8"}, r"^conv2d\.dtype = 'int8': expected one of \('float32', 'bfloat16'\)$"),
        ({"groups": 3}, r"^conv2d = \{'groups': 3\}: expected values that go together"),
    ],
)
def test_what_cannot_be_built_is_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        get_kind("conv2d").build(values)


def test_a_name_belongs_to_one_kind(clean_registry):
    def make(v):
        return Built(None, ())

    def count(v):
        return Cost(0.0, 0.0, 0.0, 0.0)

    kind = register(ModuleKind("one", (), make, count))
    assert register(kind) is kind
    with pytest.raises(ParameterError, match=r"^kind = 'one': expected a name that no other kind"):
        register(ModuleKind("one", (), make, count, max_bytes=1.0))
    with pytest.raises(ParameterError, match=r"'batch_size': expected a name of its own"):
        ModuleKind("two", (Parameter("batch_size", 1, (1, 2)),), make, count)
