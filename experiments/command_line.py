"""How every experiment starts and ends: 0 when all was done, 2 and a line for a user's mistake."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags

from packd_jax.checkpoints import CheckpointError
from packd_jax.config import ConfigError
from packd_jax.traces.load_trace import TraceError


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Parses the flags, calls `main(argv)`, and exits."""
    app.run(lambda argv: _call(main, argv), flags_parser=_parse)


def _call(main: Callable[[Sequence[str]], object], argv: Sequence[str]) -> int:
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # A second run of a study compiles nothing: compiling is half of a short one.
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "packd_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    try:
        main(argv)
    except (ConfigError, TraceError, CheckpointError) as error:
        return _mistake(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parse(argv: Sequence[str]) -> list[str]:
    quiet = "--verbosity=-1"  # absl's own default would show JAX's notes on absent backends
    try:
        return flags.FLAGS([argv[0], quiet, *argv[1:]])
    # What ml_collections raises for a --config.x that is not there, or not of that type.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(_mistake(error))


def _mistake(error: Exception) -> int:
    line = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
    print(f"{sys.argv[0].rsplit('/', 1)[-1].removesuffix('.py')}: {line}", file=sys.stderr)
    return 2
