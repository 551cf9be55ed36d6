"""What a linen module does: its module calls, the operations between them, the values that flow.

The module is traced, with `nn.intercept_methods` to tell which call an equation belongs to;
nothing is initialised, computed or compiled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax

from latency_jax.whole_model.calls import PRODUCTS, call_kind
from latency_jax.whole_model.graph import Graph
from latency_jax.whole_model.walk import SCOPE, Call, Known, Walk, distinct, value_of


def capture(
    module: nn.Module, inputs: Sequence[Any], kinds: Collection[str] | None = None
) -> Graph:
    """The graph of `module.apply(variables, *inputs)`.

    `inputs` are arrays or `jax.ShapeDtypeStruct`. With `kinds`, modules of other kinds are
    looked into, as unknown modules are. What the module raises when it is called is passed on.
    """
    calls: list[Call] = []

    def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        number = len(calls)
        calls.append(Call("/".join(context.module.path), type(context.module).__name__))
        with jax.named_scope(f"{SCOPE}{number}"):
            output = call(*args, **kwargs)
        calls[number] = _with_kind(calls[number], context.module, (args, kwargs), output, kinds)
        return output

    def apply(variables: Any, *inputs: Any) -> Any:
        with nn.intercept_methods(intercept):
            return module.apply(variables, *inputs)

    variables = jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x), *inputs)
    program = jax.make_jaxpr(apply)(variables, *inputs)
    jaxpr, weights = program.jaxpr, len(jax.tree.leaves(variables))
    walk = Walk(calls)
    known: Known = dict.fromkeys((*jaxpr.invars[:weights], *jaxpr.constvars))
    known.update((v, walk.new_value(v)) for v in jaxpr.invars[weights:])
    given = distinct(known[v] for v in jaxpr.invars[weights:])
    walk.run(jaxpr, known)
    outputs = distinct(value_of(known, v) for v in jaxpr.outvars)
    sizes = tuple(walk.size_bytes)
    return Graph(tuple(walk.ops), sizes, given, outputs, variables, program, known)


def _with_kind(
    call: Call, module: nn.Module, arguments: Any, output: Any, kinds: Collection[str] | None
) -> Call:
    arrays = [x for x in jax.tree.leaves(arguments) if hasattr(x, "dtype")]
    kind = call_kind(module, arrays, output)
    if kind is not None and (kinds is None or kind.kind in kinds):
        return call._replace(kind=kind)
    use_bias = bool(getattr(module, "use_bias", False))
    return call._replace(is_product=isinstance(module, PRODUCTS), use_bias=use_bias)
