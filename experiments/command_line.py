"""How every experiment starts and ends: 0 when all was done, 2 and a line for a user's mistake."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from packd_jax.checkpoints import CheckpointError
from packd_jax.config import ConfigError
from packd_jax.traces.load_trace import TraceError


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Parses the flags, calls `main(argv)`, and exits."""
    app.run(lambda argv: _call(main, argv), flags_parser=_parse)


def _call(main: Callable[[Sequence[str]], object], argv: Sequence[str]) -> int:
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
