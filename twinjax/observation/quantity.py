"""Laboratory values and sizes: one number at an instant."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from twinjax.core.errors import InputError
from twinjax.observation.scalar import AbstractScalarObservation

# Quantity to the deviation of its logarithm and the offset (in its unit) that keeps values near zero finite.
# Volume: residuals of untreated xenografts, 0.09 to 0.13. Diameter: a third of it and reading error, 7 to 20 %
# (textbook value). PSA: Zou et al. 2020, 0.201; detection near 0.05 ng/mL. The others and all other offsets are our
# own choice.
SCATTER = {
    "volume_mm3": (0.12, 1.0),
    "diameter_mm": (0.10, 0.5),
    "sum_of_diameters_mm": (0.10, 0.5),
    "psa_ng_ml": (0.20, 0.05),
    "testosterone_nmol_l": (0.25, 0.2),
    "ca19_9_u_ml": (0.30, 1.0),
}


class QuantityObservation(AbstractScalarObservation):
    """The logarithm of a quantity that the model names, ln(q + offset), with normal noise.

    Sizes and concentrations scatter by a share of their value, over decades: hence the logarithm.

    **Fields:** `quantity`, a key of `AbstractTumorModel.quantities` (static); `noise_std` of the logarithm; `offset`
    in the unit of the quantity, which keeps values near zero (or below detection) finite; `walk_std`, by how much the
    model's error of that logarithm changes in 42 days (static): a calibration joins such readings, which then are not
    independent (`twinjax/calibration/walk.py`).
    """

    quantity: str = eqx.field(static=True)
    noise_std: Float[Array, ""]
    offset: Float[Array, ""]
    walk_std: float = eqx.field(static=True)

    def __init__(
        self,
        quantity: str,
        noise_std: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        *,
        walk_std: float = 0.0,
    ):
        """Noise and offset not given are those of `SCATTER`, or 0.2 and 0 for a quantity that is not there.

        Raises `InputError` for a `walk_std` that is negative or not finite.
        """
        if not 0 <= walk_std < float("inf"):
            raise InputError(f"the model's error must be a number of at least 0, got {walk_std}")
        usual_noise, usual_offset = SCATTER.get(quantity, (0.2, 0.0))
        noise_std = usual_noise if noise_std is None else noise_std
        offset = usual_offset if offset is None else offset
        self.quantity, self.walk_std = quantity, float(walk_std)
        self.noise_std, self.offset = jnp.asarray(noise_std, float), jnp.asarray(offset, float)

    def predict(self, model, state):
        quantities = model.quantities(state)
        if self.quantity not in quantities:
            known = ", ".join(quantities)
            raise InputError(f"{type(model).__name__} does not predict '{self.quantity}'; it predicts {known}")
        return self.transform(quantities[self.quantity])

    def transform(self, value: ArrayLike) -> Array:
        """A measured value on the scale of `predict`."""
        # A tumour that is gone has a logarithm too.
        return jnp.log(jnp.maximum(jnp.asarray(value, float) + self.offset, 1e-12))

    def untransform(self, prediction: ArrayLike) -> Array:
        """Back to the unit of the quantity."""
        return jnp.exp(jnp.asarray(prediction, float)) - self.offset
