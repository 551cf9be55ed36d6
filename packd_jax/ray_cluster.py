"""The connection to a Ray cluster: a given one, or one of this machine that lives as long as we do.

Ray is an extra (`pip install 'packd-jax[ray]'`), so nothing here imports it before it is asked for.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from packd_jax.config import ConfigError

# Settings of JAX and XLA hold for workers as for this process: same numbers, same compile cache.
_PASSED_ON = ("JAX_", "XLA_")
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    # Without GPUs asked for, Ray would hide them by a variable, and warn that it will not.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ANSWER_SECONDS = 5.0
_LOCAL_STORE_BYTES = 128 * 2**20  # arrays stay in files: what passes through Ray is small


def require_ray() -> ModuleType:
    """The module `ray`. Raises ConfigError that says how to install it."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"this needs Ray, which is not installed ({error}): pip install 'packd-jax[ray]'"
        ) from None
    return ray


@contextmanager
def connected(
    address: str | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    cpus: int | None = None,
) -> Iterator[ModuleType]:
    """Connects this process to Ray, and disconnects it again; gives the module `ray`.

    Args:
      address: `host:port` of a cluster ("auto": the one of this machine); None starts one with
        this machine alone and ends it. A process that is connected already stays so, as it is.
      environment: variables of the workers, beside this process's `JAX_*` and `XLA_*`.
      cpus: how many CPUs a cluster started here counts; None: those of the machine.

    Workers import this very code where they see its directory, and the installed one elsewhere.
    Raises ConfigError without Ray, and where no cluster answers at `address`.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    settings = {"address": _listening(address)} if address else _local(cpus)
    try:
        with variables(_QUIET), warnings.catch_warnings():
            # Ray's processes begin as forks of this one, but are other programs at once.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(
                **settings,
                runtime_env={"env_vars": worker_environment(environment or {})},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, error) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def worker_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Variables for workers: this process's of JAX and XLA, the path of this code, and `extra`."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**passed, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **extra}


def _listening(address: str) -> str:
    """The address itself if something listens there: Ray would ask for minutes."""
    if address == "auto":
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(f"--address={address}: expected host:port of a Ray cluster, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from None
    return address


def _unreachable(address: str | None, error: Exception) -> ConfigError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ConfigError(
        f"--address={address}: no Ray cluster answers there ({reason}); start one with"
        " `ray start --head --port=6379` and give its host:port, or leave --address out; where it"
        " asks for Ray's token, as it does where ~/.ray/auth_token is, set RAY_AUTH_MODE=token"
    )


def _local(cpus: int | None) -> dict[str, object]:
    # "local" as None would join whatever cluster was started last on this machine.
    return {
        "address": "local",
        "num_cpus": cpus,
        "include_dashboard": False,
        "object_store_memory": _LOCAL_STORE_BYTES,
    }


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process that are not set, for a while: settings of Ray, which has
    no other place for them."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
