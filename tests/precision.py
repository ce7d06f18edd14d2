"""Which products of matrices a traced function leaves to the device's choice of precision."""

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.lax import Precision

JAXPRS = (ClosedJaxpr, Jaxpr)


def inexact_products(function, *arguments) -> list[str]:
    """The equations of `function` whose products a GPU would take with ten bits of the mantissa."""
    return list(_inexact(jax.make_jaxpr(function)(*arguments).jaxpr))


def _inexact(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            precision = equation.params["precision"]
            if precision is None or set(precision) != {Precision.HIGHEST}:
                yield str(equation)
        inner = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: isinstance(x, JAXPRS))
        for value in inner:
            if isinstance(value, JAXPRS):
                yield from _inexact(getattr(value, "jaxpr", value))
