"""The type checker that `conftest.py` puts on every function and dataclass of twinjax."""

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import Array, Num

# A number is a number, whether Python, NumPy or JAX made it: `resolution_mm=2` must pass.
NUMBERS = {int: int | np.integer, float: float | int | np.floating | np.integer | Num[Array, ""]}
checked = beartype(conf=BeartypeConf(hint_overrides=BeartypeHintOverrides(NUMBERS)))
