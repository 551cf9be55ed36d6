import json
from pathlib import Path

import numpy as np
import pytest
from made_up_devices import DEVICES, measured
from numpy.testing import assert_array_equal

from latency_jax.artifacts import ArtifactError, read_artifact, write_artifact
from latency_jax.devices import with_device
from latency_jax.latency_model import FORMAT, VERSION, LatencyModel, kind_model
from latency_jax.medn import MednConfig
from latency_jax.parameters import ParameterError
from latency_jax.regressors import make_regressor
from latency_jax.regressors.medn import MednRecipe, MednRegressor, fit_together
from latency_jax.table import TableError, joined, make_table, split

TINY = MednRecipe(MednConfig(width=32, frequencies=2, embedding=2, steps=60, batch_size=32))
ENVIRONMENT = {"id": "0123456789ab", "threads": 2}


def table(kind, rows, seed):
    rng = np.random.default_rng(seed)
    columns = {
        "batch_size": 2 ** rng.integers(0, 6, rows),
        "in_features": rng.integers(8, 600, rows),
        "out_features": rng.integers(8, 600, rows),
    }
    seconds = (
        1e-6 + 1e-11 * columns["batch_size"] * columns["in_features"] * columns["out_features"]
    )
    return make_table(kind, columns, seconds * np.exp(0.05 * rng.standard_normal(rows)))


SPLITS = {
    kind: split(table(kind, 1000, seed), seed, validation_share=0.3)
    for seed, kind in enumerate(("dense", "generic"))
}
TESTS = {kind: splits.test for kind, splits in SPLITS.items()}


@pytest.fixture(scope="module")
def networks():
    regressors = [MednRegressor("medn", kind, TINY) for kind in SPLITS]
    train, validation, _ = zip(*SPLITS.values())
    fit_together(regressors, train, validation, seed=0)
    return regressors


def model_of(regressors, **kwargs):
    models = {
        r.kind: kind_model(r, SPLITS[r.kind].train, SPLITS[r.kind].validation) for r in regressors
    }
    return LatencyModel(models, ENVIRONMENT, **kwargs)


@pytest.fixture(scope="module")
def model():
    regressors = []
    for (kind, splits), name in zip(SPLITS.items(), ("roofline", "poly2_ridge")):
        regressors.append(make_regressor(name, kind).fit(splits.train, splits.validation, 0))
    return model_of(regressors, about={"repeatability": 0.9})


def test_predicts_what_its_regressors_do_with_an_interval_that_holds(model):
    for kind, test in TESTS.items():
        found = model.predict(kind, test.columns)
        assert_array_equal(found.latency, model.models[kind].regressor.predict(test))
        assert (found.low < found.latency).all() and (found.latency < found.high).all()
        is_covered = (found.low <= test.latency) & (test.latency <= found.high)
        assert 0.8 < is_covered.mean() < 0.97
        assert found.in_domain.mean() > 0.9


def test_says_what_it_knows(model):
    assert model.kinds == ("dense", "generic")
    assert set(model.columns("dense")) == {"batch_size", "in_features", "out_features"}
    assert model.correction is None and model.environment == ENVIRONMENT


def test_outside_of_what_training_held(model):
    row = {"batch_size": 8, "in_features": 100, "out_features": 100}
    far = {**row, "in_features": 10_000}
    columns = {name: np.array([row[name], far[name]]) for name in row}
    assert model.predict("dense", columns).in_domain.tolist() == [True, False]
    # Parameters that training said nothing of: fine as usual, a guess otherwise.
    columns |= {"in_features": np.array([100, 100]), "dtype": np.array(["float32", "bfloat16"])}
    assert model.predict("dense", columns).in_domain.tolist() == [True, False]


def test_predicts_the_same_after_save_and_load(model, networks, tmp_path):
    correction = {"overhead": 1e-6}
    for number, each in enumerate((model, model_of(networks, correction=correction))):
        path = tmp_path / f"{number}.zip"
        each.save(path)
        again = LatencyModel.load(path)
        assert (again.kinds, again.environment) == (each.kinds, each.environment)
        assert (again.correction, again.about) == (each.correction, each.about)
        assert again.size_bytes == each.size_bytes
        for kind, test in TESTS.items():
            for a, b in zip(again.predict(kind, test.columns), each.predict(kind, test.columns)):
                assert_array_equal(a, b)


def test_shared_files_are_there_once(networks, tmp_path):
    model = model_of(networks)
    model.save(tmp_path / "model.zip")
    names = read_artifact(tmp_path / "model.zip", FORMAT, VERSION)
    assert sum(name.endswith("-encoder.npz") for name in names) == 1
    assert sum(name.endswith("-own.npz") for name in names) == 2
    encoder = len(networks[0].to_files()["encoder.npz"])
    assert model.size_bytes == sum(r.size_bytes for r in networks) - encoder


def test_what_cannot_be_predicted_is_refused(model):
    columns = TESTS["dense"].columns
    with pytest.raises(ParameterError, match="did you mean 'dense'"):
        model.predict("denes", columns)
    with pytest.raises(TableError, match="no column 'in_features'"):
        model.predict("dense", {n: c for n, c in columns.items() if n != "in_features"})
    with pytest.raises(TableError, match=r"row 0: nan; expected a finite number"):
        model.predict("dense", {n: np.array([np.nan]) for n in columns})
    with pytest.raises(TableError, match=r"expected \(2,\)"):
        model.predict("dense", {"batch_size": np.ones(2), "in_features": np.ones(3)})


def test_damage_is_an_error_and_never_another_model(model, tmp_path):
    path = tmp_path / "model.zip"
    model.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    expected = model.predict("dense", TESTS["dense"].columns).latency
    for _ in range(60):
        data = bytearray(whole)
        if rng.random() < 0.5:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            again = LatencyModel.load(path)
        except ArtifactError:
            continue
        assert_array_equal(again.predict("dense", TESTS["dense"].columns).latency, expected)


def test_foreign_artifacts_are_refused(model, tmp_path):
    path = Path(tmp_path / "model.zip")
    model.save(path)
    files = read_artifact(path, FORMAT, VERSION)
    record = json.loads(files["model.json"])
    with pytest.raises(ArtifactError, match=f"is version {VERSION}"):
        read_artifact(path, FORMAT, VERSION + 1)
    for change in (
        {"kinds": 3},
        {"kinds": {"dense": {}}},
        {"kinds": {"dense": {**record["kinds"]["dense"], "regressor": "oracle"}}},
        {"kinds": {"dense": {**record["kinds"]["dense"], "files": {"roofline.json": "absent"}}}},
        {"kinds": {"dense": {**record["kinds"]["dense"], "interval": None}}},
    ):
        changed = {**files, "model.json": json.dumps({**record, **change}).encode()}
        write_artifact(path, FORMAT, VERSION, changed)
        with pytest.raises(ArtifactError, match="holds no latency model"):
            LatencyModel.load(path)
    with pytest.raises(ArtifactError, match="no such file"):
        LatencyModel.load(tmp_path / "other.zip")


def test_files_of_the_first_version_are_read(model, tmp_path):
    path = tmp_path / "model.zip"
    model.save(path)
    files = read_artifact(path, FORMAT, VERSION)
    record = json.loads(files["model.json"])
    assert record.pop("devices") == [] and record.pop("device") is None
    write_artifact(path, FORMAT, 1, {**files, "model.json": json.dumps(record).encode()})
    again = LatencyModel.load(path)
    columns = TESTS["dense"].columns
    for a, b in zip(again.predict("dense", columns), model.predict("dense", columns)):
        assert_array_equal(a, b)
    write_artifact(path, FORMAT, 3, files)
    with pytest.raises(ArtifactError, match="is version 3"):
        LatencyModel.load(path)


@pytest.fixture(scope="module")
def several():
    known = {name: DEVICES[name] for name in ("slow", "fast")}
    train = joined([with_device(measured(d.name, 200, 1), d) for d in known.values()])
    regressor = make_regressor("roofline", "dense").fit(train, train, 0)
    about = {"environments": {"fast": {"id": "f"}}}
    return LatencyModel(
        {"dense": kind_model(regressor, train, train)}, {}, about=about, devices=known
    )


def test_a_model_of_several_devices_predicts_for_the_chosen_one(several, tmp_path):
    columns = measured("slow", 50, 2).columns
    bound = several.for_device("fast")
    assert bound.environment == {"id": "f"} and several.for_device("slow").environment == {}
    bound.save(tmp_path / "fast.zip")
    again = LatencyModel.load(tmp_path / "fast.zip")
    assert again.device == DEVICES["fast"] and again.devices == several.devices
    assert again.columns("dense") == ("batch_size", "in_features", "out_features")
    fast = again.predict("dense", columns)
    slow = several.for_device("slow").predict("dense", columns)
    assert fast.latency.sum() < 0.3 * slow.latency.sum() and fast.in_domain.mean() > 0.9
    told = with_device(measured("slow", 50, 2), DEVICES["slow"]).columns  # by the columns alone
    assert_array_equal(several.predict("dense", told).latency, slow.latency)
    # Within every range, but nobody has measured there.
    between = several.for_device(DEVICES["new"]).predict("dense", columns)
    assert not between.in_domain.any()


def test_devices_that_are_not_there(several, model):
    with pytest.raises(ParameterError, match=r"device = 'fats'.*did you mean 'fast'"):
        several.for_device("fats")
    with pytest.raises(TableError, match="several devices: choose one with for_device, of 'slow'"):
        several.predict("dense", measured("slow", 5, 2).columns)
    with pytest.raises(TableError, match=r"one machine alone: .*recalibrate_latency"):
        model.for_device("fast")
