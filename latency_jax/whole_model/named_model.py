"""Models and inputs as a command line names them.

The factory is code that the user names, and is run; nothing else here is.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from latency_jax.parameters import CONDITIONS, Value
from packd_jax.config import ConfigError


def make_model(name: str) -> nn.Module:
    """The module that `package.module:factory` names: what the factory gives when it is called.

    Raises ConfigError where the name, the package or the factory is not there, or no linen
    module comes out. What the factory itself raises is passed on.
    """
    package, _, factory_name = name.partition(":")
    if not package or not factory_name:
        raise ConfigError(f"model {name!r}: expected package.module:factory")
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A module that the user's own code misses is for the user to see.
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"model {name!r}: no module {error.name!r}; is it on PYTHONPATH?"
        ) from None
    factory = getattr(found, factory_name, None)
    if factory is None:
        raise ConfigError(f"model {name!r}: {package} has no {factory_name!r}")
    module = factory if isinstance(factory, nn.Module) else factory()
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"model {name!r}: {factory_name} gave a {type(module).__name__}; expected a "
            "flax.linen.Module"
        )
    return module


def parse_input(text: str) -> jax.ShapeDtypeStruct:
    """The shape and dtype of "1,224,224,3:float32"; without ":" it is float32.

    Raises ConfigError for anything else.
    """
    lengths, colon, dtype = text.partition(":")
    try:
        shape = tuple(int(length) for length in lengths.split(","))
        parsed = jnp.dtype(dtype if colon else "float32")
    except (ValueError, TypeError):
        shape, parsed = (0,), jnp.dtype("float32")
    is_numeric = jnp.issubdtype(parsed, jnp.number) or parsed == jnp.bool_
    if min(shape) < 1 or not is_numeric:
        raise ConfigError(f"input {text!r}: expected lengths and a dtype, like 1,224,224,3:float32")
    return jax.ShapeDtypeStruct(shape, parsed)


def format_input(array: jax.ShapeDtypeStruct) -> str:
    """What `parse_input` reads."""
    return f"{','.join(map(str, array.shape))}:{array.dtype.name}"


def parse_inputs(texts: Sequence[str]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Raises ConfigError where there is none, or one cannot be read."""
    if not texts:
        raise ConfigError(
            "no --input given; expected one for each argument, like 1,224,224,3:float32"
        )
    return tuple(map(parse_input, texts))


def parse_conditions(texts: Sequence[str]) -> dict[str, Value]:
    """Conditions of "cpu_utilization=0.5" and the like; batch size and dtype are the inputs'.

    Raises ConfigError for anything else, and for values out of a condition's range.
    """
    known = {c.name: c for c in CONDITIONS if c.name not in ("batch_size", "dtype")}
    conditions: dict[str, Value] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known:
            raise ConfigError(f"condition {text!r}: expected NAME=VALUE, of {', '.join(known)}")
        try:
            conditions[name] = type(known[name].default)(value)
        except ValueError:
            raise ConfigError(f"condition {text!r}: expected {known[name].expected}") from None
        if not known[name].contains(conditions[name]):
            raise ConfigError(f"condition {text!r}: expected {known[name].expected}")
    return conditions
