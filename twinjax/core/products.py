"""Products of matrices in the precision of their numbers.

What JAX takes for single precision on a GPU unless told otherwise keeps ten bits of the mantissa (TF32): enough to
train a network, but it moves the residuals of a fit by thousandths, and derivatives taken there by tenths.
"""

from functools import partial

import jax.numpy as jnp

product = partial(jnp.matmul, precision="highest")
contracted = partial(jnp.tensordot, precision="highest")
