"""How every experiment starts and ends: 0 when all was done, 2 and a line for a user's mistake.

3 where several processes train as one and another one is gone.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from packd_jax import processes
from packd_jax.checkpoints import CheckpointError
from packd_jax.config import Config, ConfigError, from_config_dict
from packd_jax.device_mesh import layout
from packd_jax.traces.load_trace import TraceError

# What ml_collections raises for a --config that is not there, or a --config.x not of that type.
_CONFIG_ERRORS = (AttributeError, KeyError, TypeError, ValueError, OSError)
_MISTAKES = (ConfigError, TraceError, CheckpointError)


def define_config(name: str, experiments: str = "packd") -> flags.FlagHolder:
    """The flag --config=PATH:NAME, by default the named one of experiments/configs/packd.py."""
    path = Path(__file__).parent / "configs" / f"{experiments}.py"
    try:  # it reads the command line already here
        return config_flags.DEFINE_config_file("config", f"{path}:{name}", "PATH:NAME")
    except _CONFIG_ERRORS as error:
        sys.exit(_mistake(error))


def define_devices() -> None:
    """The flags of a run over several devices and processes, which `run` then obeys."""
    flags.DEFINE_string(
        "coordinator", "", "HOST:PORT of process 0, or cluster: several processes train as one"
    )
    flags.DEFINE_integer("num_processes", None, "how many there are, with --coordinator")
    flags.DEFINE_integer("process_id", None, "which one this is, from 0 on")
    flags.DEFINE_integer("mesh_data", 0, "devices that share a batch; 0: chosen", lower_bound=0)
    flags.DEFINE_integer(
        "mesh_model_replica",
        0,
        "devices that share teachers, arms and seeds; 0: chosen",
        lower_bound=0,
    )


def define_register() -> flags.FlagHolder:
    """The flag --register=MODULE,..., for `register_kinds`."""
    return flags.DEFINE_list("register", [], "modules of yours to import, which register kinds")


def register_kinds(modules: Sequence[str]) -> None:
    """Imports modules that call `latency_jax.modules.register`. ConfigError for one not there."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"--register={name}: {error}; is it on PYTHONPATH?") from None


def study_config(values: Any, paths: Sequence[str]) -> Config:
    """The checked configuration of --config, with the traces of --trace if there are any."""
    try:
        if paths:
            values.trace.paths = tuple(paths)
        return from_config_dict(Config, values)
    except OSError as error:  # ml_collections reports a missing file when it is first asked for
        raise ConfigError(f"--config: {error}") from None


def run(main: Callable[[Sequence[str]], object], *mistakes: type[Exception]) -> None:
    """Parses the flags, calls `main(argv)`, and exits.

    `mistakes` are what it may raise, beside a ConfigError and the like, for a user's mistake.
    """
    app.run(lambda argv: _call(main, argv, (*_MISTAKES, *mistakes)), flags_parser=_parse)


def _call(
    main: Callable[[Sequence[str]], object],
    argv: Sequence[str],
    mistakes: tuple[type[Exception], ...] = _MISTAKES,
) -> int:
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # A second run of a study compiles nothing: compiling is half of a short one.
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "packd_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    try:
        with _devices():
            main(argv)
    except mistakes as error:
        return _mistake(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # JAX raises either for lost peers
        if processes.count() == 1 or not processes.is_loss(error):
            raise
        _abandon(error)
    return 0


def _devices() -> contextlib.AbstractContextManager[None]:
    """Connects the processes that `define_devices` asks for, and lays out the devices."""
    if "coordinator" not in flags.FLAGS:
        return contextlib.nullcontext()
    values = flags.FLAGS
    if values.coordinator:
        processes.connect(values.coordinator, values.num_processes, values.process_id)
    elif (values.num_processes, values.process_id) != (None, None):
        raise ConfigError("--num_processes and --process_id: expected --coordinator beside them")
    return layout(values.mesh_data, values.mesh_model_replica)


def _abandon(error: Exception) -> None:
    """Ends a process whose peers are gone: nothing that they share can be shut down in order."""
    print(
        f"process {jax.process_index()} of {processes.count()}: another process has ended"
        f" ({str(error).strip().splitlines()[0][:200]}); start all of them again with the same"
        " commands: they go on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(3)


def _parse(argv: Sequence[str]) -> list[str]:
    quiet = "--verbosity=-1"  # absl's own default would show JAX's notes on absent backends
    try:
        return flags.FLAGS([argv[0], quiet, *argv[1:]])
    except (flags.Error, *_CONFIG_ERRORS) as error:
        sys.exit(_mistake(error))


def _mistake(error: Exception) -> int:
    text = str(error.args[0] if isinstance(error, KeyError) else error)
    if "Traceback" in text:  # ml_collections wraps what a config file raised: its last line says it
        text = text.strip().rsplit("\n", 1)[-1].partition("Error: ")[2]
    line = " ".join(text.replace("\\n", " ").split())
    print(f"{sys.argv[0].rsplit('/', 1)[-1].removesuffix('.py')}: {line}", file=sys.stderr)
    return 2
