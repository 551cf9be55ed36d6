"""The connection to Ray: what is missing is told, workers run this code, and what we start ends."""

import builtins
import os
import socket
from pathlib import Path

import pytest

import packd_jax
from packd_jax.config import ConfigError
from packd_jax.ray_cluster import connected, require_ray, worker_environment


def told(action):
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


def connect(address):
    with connected(address):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name.split(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    for action in (require_ray, lambda: connect(None)):
        assert told(action) == (
            "this needs Ray, which is not installed (No module named 'ray'):"
            " pip install 'packd-jax[ray]'"
        )


@pytest.mark.parametrize("address", ["somewhere", ":6379", "host:port", "ray://host:10001"])
def test_an_address_is_host_and_port(address):
    pytest.importorskip("ray")
    assert told(lambda: connect(address)).startswith(f"--address={address}: expected host:port")


def test_where_nothing_listens_is_told_at_once():
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert told(lambda: connect(address)).startswith(
            f"--address={address}: no Ray cluster answers there ("
        )
    assert told(lambda: connect("127.0.0.1:99999")).startswith("--address=127.0.0.1:99999: no Ray")


def test_workers_have_the_settings_of_this_process(monkeypatch):
    monkeypatch.setenv("JAX_SOMETHING", "1")
    monkeypatch.setenv("OTHER", "2")
    monkeypatch.setenv("PYTHONPATH", "/some/place")
    found = worker_environment({"XLA_FLAGS": "mine"})
    root = Path(packd_jax.__file__).parent.parent
    assert found["JAX_SOMETHING"] == "1" and "OTHER" not in found
    assert found["XLA_FLAGS"] == "mine"
    assert found["PYTHONPATH"] == f"{root}{os.pathsep}/some/place"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cluster_of_our_own_runs_this_code_and_ends():
    ray = pytest.importorskip("ray")

    def where():  # sent to the worker as it stands here, as this file is no module there
        return packd_jax.__file__, os.environ.get("JAX_PLATFORMS"), os.environ["MINE"], os.getpid()

    with connected(environment={"MINE": "yes"}, cpus=1) as found:
        assert found is ray and ray.is_initialized()
        place, platforms, mine, pid = ray.get(ray.remote(where).remote())
        assert Path(place) == Path(packd_jax.__file__)
        assert (platforms, mine) == ("cpu", "yes") and pid != os.getpid()
        with connected("nowhere:1"):  # we are connected already, and stay so
            assert ray.cluster_resources()["CPU"] == 1
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
