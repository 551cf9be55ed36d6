"""Module kinds by name, and configurations drawn of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latency_jax.customization import customized
from latency_jax.modules.kind import MAX_WORK, ModuleKind
from latency_jax.parameters import (
    CONDITIONS,
    ModuleConfig,
    Parameter,
    ParameterError,
    Value,
    check_known,
)

DRAWS = 2000  # that sample_config makes before it gives up

_KINDS: dict[str, ModuleKind] = {}


def register(kind: ModuleKind) -> ModuleKind:
    """Makes the kind known under its name and returns it.

    Raises ParameterError if another kind has the name.
    """
    if _KINDS.setdefault(kind.name, kind) != kind:
        raise ParameterError("kind", kind.name, "a name that no other kind has")
    return kind


def get_kind(name: str) -> ModuleKind:
    """The kind of that name. Raises ParameterError that names the nearest one."""
    check_known(name, _KINDS, "kind")
    return _KINDS[name]


def kinds() -> tuple[str, ...]:
    """The names of all kinds, in the order in which they were registered."""
    return tuple(_KINDS)


def customized_parameters(name: str, customizations: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The kind's parameters, then the conditions, as `customizations` wants them.

    `customizations` maps names of either to what `latency_jax.customization.customized` takes; the
    `is_input` of the results says which are inputs of regressors. Raises ParameterError.
    """
    usual = (*get_kind(name).parameters, *CONDITIONS)
    for key in customizations:
        check_known(key, [p.name for p in usual], f"kind {name!r}: parameter")
    return tuple(
        customized(p, customizations[p.name]) if p.name in customizations else p for p in usual
    )


def sample_config(
    name: str,
    rng: np.random.Generator,
    customizations: Mapping[str, Any] | None = None,
    size_limit: float = 1.0,
) -> ModuleConfig:
    """Draws a valid configuration of the kind `name`; `customizations` as above.

    Raises ParameterError if none of many draws is valid.
    """
    kind = get_kind(name)
    parameters = customized_parameters(name, customizations or {})
    values: dict[str, Value] = {}
    for _ in range(DRAWS):
        values = {parameter.name: parameter.sample(rng) for parameter in parameters}
        if kind.is_valid(values, size_limit):
            conditions = {parameter.name: values.pop(parameter.name) for parameter in CONDITIONS}
            return ModuleConfig(name, values, conditions)
    work, cost_bytes = kind.size(values)
    raise ParameterError(
        name,
        values,
        f"values that go together, work of at most {MAX_WORK * size_limit:.3g} (the last of "
        f"{DRAWS} draws has {work:.3g}) and at most {kind.max_bytes * size_limit:.3g} bytes "
        f"({cost_bytes:.3g}); allow smaller sizes, or a larger size_limit",
    )
