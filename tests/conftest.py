"""Strict settings for every test: two CPU devices, no silent rank promotion."""

import os
import signal
from pathlib import Path

# What starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=2"
    # Programs of tests run for less time than they compile.
    + " --xla_backend_optimization_level=0"
)
# Clusters of tests are on the loopback interface alone, as Ray does by itself where this is 0.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

# Tests and the commands that they start share what they compile.
CACHE = Path(__file__).parent.parent / ".pytest_cache" / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax  # noqa: E402  reads the settings above
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# How long an example takes depends on who else uses the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _collections_of_other_tests_do_not_matter(tmp_path_factory):
    os.environ["LATENCY_JAX_LOCKS"] = str(tmp_path_factory.getbasetemp())


def pytest_collection_modifyitems(items):
    """Begins with files that start commands: they take longest, and the last would run alone."""
    items.sort(key=lambda item: not hasattr(item.module, "subprocess"))
