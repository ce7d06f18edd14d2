"""A growth law with a residual that a network learns."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from twinjax.core.errors import InputError
from twinjax.model.growth import AbstractGrowth, growth_law
from twinjax.network import GaussianNetwork

# Steps of the clock of `untreated`.
CLOCK_STEPS = 32
# Of |r|: growth 150 times as fast as the base's, beyond which the base's flow overflows in long steps.
LARGEST_LOG_RATIO = 5.0


class NeuralGrowth(AbstractGrowth):
    """u g(u) = u g_base(u) exp(r(u / K)): a law in a clock that the network sets fast or slow.

    r is 0 before training: the law is the base then. As it only scales the rate, u = 0 and u = K stay at rest and u in
    [0, K], whatever r is. With s = u / K its input is x = 2 ln(1 + s / e) / ln(1 + 1 / e) - 1, from -1 at no cells to 1
    at K; far below the share e of K the law is the base but for a factor. |r| is cut at 5. Our own form of a universal
    differential equation (Rackauckas et al. 2020, arXiv 2001.04385).

    **Fields:** `base`; `residual`, r, whose weights `model.growth.residual.last` (and `.hidden`) are unknowns with a
    standard normal prior: r(s) ~ N(0, deviation²) at every s; `smallest_share` e.
    """

    base: AbstractGrowth
    residual: GaussianNetwork
    smallest_share: float

    def __init__(
        self,
        base: str | AbstractGrowth = "logistic",
        *,
        deviation: float = 0.5,
        width: int = 8,
        smallest_share: float = 1e-4,
        seed: int = 0,
        residual: GaussianNetwork | None = None,
    ):
        """`deviation` of the logarithm of the growth rate, a priori: 0.5 lets it be 0.6 to 1.6 times the base's.

        `residual`: a network of one input, such as a cohort has learned, in place of a new one of `deviation`, `width`
        and `seed`.
        """
        if not 0 < smallest_share < 1:
            raise InputError(f"smallest_share must lie between 0 and 1, got {smallest_share}")
        self.base, self.smallest_share = growth_law(base), float(smallest_share)
        begun = GaussianNetwork(1, deviation=deviation, width=width, seed=seed)
        self.residual = begun if residual is None else residual

    def log_ratio(self, share: Array) -> Array:
        """r at u = `share` of the capacity."""
        e = self.smallest_share
        x = 2 * jnp.log1p(jnp.maximum(share, 0.0) / e) / np.log1p(1 / e) - 1
        return jnp.clip(self.residual(x[..., None]), -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)

    def growth(self, u, rate, capacity):
        return self.base.growth(u, rate, capacity) * jnp.exp(self.log_ratio(u / capacity))

    def flow(self, u, duration, rate, capacity, log_kill=0.0, kills=None):
        """Of second order in the duration: the base's exact flow at the ratio of the middle of the step."""
        if kills is not None and kills.log_kill.size:
            return self._with_kills_together(u, duration, rate, capacity, log_kill, kills)
        ratio = jnp.exp(self.log_ratio(u / capacity))
        middle = self.base.flow(u, duration / 2, rate * ratio, capacity, log_kill / 2)
        ratio = jnp.exp(self.log_ratio(middle / capacity))
        return self.base.flow(u, duration, rate * ratio, capacity, log_kill)

    def untreated(self, u, elapsed, rate, capacity):
        """The base's flow for as long as its clock runs, dt_base/dt = exp(r): `CLOCK_STEPS` Runge-Kutta steps."""
        step = elapsed / CLOCK_STEPS

        def speed(clock):
            return jnp.exp(self.log_ratio(self.base.untreated(u, clock, rate, capacity) / capacity))

        def advanced(_, clock):
            first = speed(clock)
            second = speed(clock + step / 2 * first)
            third = speed(clock + step / 2 * second)
            fourth = speed(clock + step * third)
            return clock + step / 6 * (first + 2 * second + 2 * third + fourth)

        # A scan by the known number of steps, so that reverse mode passes too.
        clock = jax.lax.fori_loop(
            0, CLOCK_STEPS, advanced, jnp.zeros(jnp.broadcast_shapes(jnp.shape(u), jnp.shape(step)))
        )
        return self.base.untreated(u, clock, rate, capacity)
