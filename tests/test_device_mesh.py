"""Meshes: which division of the devices is chosen; equal results on 1, 2 and 8 of them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from packd_jax.config import ConfigError
from packd_jax.device_mesh import DATA, REPLICA, layout, make_mesh, padded, place, sharding

PROGRAM = Path(__file__).with_name("mesh_program.py")


def shape(*args, **options):
    return tuple(make_mesh(*args, **options).shape.values())


def test_runs_come_first_and_rows_are_shared_where_there_are_too_few():
    assert make_mesh(1, 16).axis_names == (DATA, REPLICA) == ("data", "model_replica")
    assert shape(2, 16) == (1, 2)  # as good as sharing the rows, without sums of gradients
    assert shape(1, 16) == (2, 1)
    assert shape(3, 16) == (2, 1)  # else one device would have two runs and the other one
    assert shape(3, 15) == (1, 2)  # rows that do not divide are not shared
    assert shape(1, 16, lanes=2) == (2, 1)
    assert shape(1, 16, lanes=3) == (1, 2)


def test_a_stack_is_filled_up_to_what_the_axis_divides():
    mesh = make_mesh(3, 15)
    assert [padded(runs, mesh) for runs in (1, 2, 3, 4)] == [2, 2, 4, 4]


def test_a_layout_fixes_the_axes_and_says_what_is_there():
    with layout(data=1, model_replica=1):
        assert shape(2, 16) == (1, 1)
    with layout(data=2):
        assert shape(2, 16) == (2, 1)
        with pytest.raises(ConfigError, match=r"data a divisor of the batch size 15"):
            make_mesh(2, 15)
        with pytest.raises(ConfigError, match=r"batch size 16 and of the 3 lanes"):
            make_mesh(2, 16, lanes=3)
    assert shape(2, 16) == (1, 2)
    with pytest.raises(ConfigError, match=r"data=2, model_replica=2: 2 device\(s\) here"):
        layout(2, 2).__enter__()


def test_a_layout_leaves_no_process_out(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"2 device\(s\) here; expected a product of 2, or 0"):
        layout(1, 1).__enter__()
    with layout(2, 1):
        assert shape(2, 16) == (2, 1)


def test_arrays_lie_where_the_axes_say():
    mesh, values = make_mesh(1, 16), np.arange(6.0)
    halves = place(values, sharding(mesh, DATA))
    assert [shard.data.tolist() for shard in halves.addressable_shards] == [[0, 1, 2], [3, 4, 5]]
    everywhere = place({"a": values}, sharding(mesh))["a"]
    assert everywhere.is_fully_replicated and len(everywhere.addressable_shards) == 2
    np.testing.assert_array_equal(everywhere, values)


def train(path, *options, check=True):
    """The results of tests/mesh_program.py."""
    command = [sys.executable, str(PROGRAM), str(path), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return json.loads(path.read_text()) if path.exists() else None


def assert_alike(found, expected):
    for name in ("loss", "sums"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4)
    np.testing.assert_allclose(found["f1"], expected["f1"], atol=2e-3)


@pytest.mark.parametrize("family", ["token_mlp", "lstm"])
def test_the_number_of_devices_changes_rounding_alone(tmp_path, family):
    one = train(tmp_path / "1.json", f"--family={family}")
    for devices, options in ((8, []), (2, ["--data=2"])):
        options = [f"--family={family}", f"--devices={devices}", *options]
        many = train(tmp_path / f"{devices}.json", *options)
        assert many["devices"] == devices
        assert_alike(many, one)


def test_what_eight_devices_have_saved_goes_on_on_one_and_on_two(tmp_path):
    whole = train(tmp_path / "whole.json")
    saved = tmp_path / "saved"
    stopped = ["--devices=8", "--stop=10", f"--directory={saved}"]
    assert train(tmp_path / "stopped.json", *stopped, check=False) is None
    assert jax.tree.leaves(list(saved.iterdir()))
    for devices in (1, 2):
        copy = tmp_path / f"on_{devices}"
        subprocess.run(["cp", "-r", saved, copy], check=True)
        options = [f"--devices={devices}", f"--directory={copy}"]
        resumed = train(tmp_path / f"{devices}.json", *options)
        assert_alike(resumed, whole)
