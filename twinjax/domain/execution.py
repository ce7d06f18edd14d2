"""How passes over the voxels are made: by which kernel, and on how many devices."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from twinjax.core.errors import InputError

KERNELS = ("auto", "xla", "pallas")
# The name of the mesh's only axis.
SLAB = "slab"
# Steps of a solve in one pass of the loop on a GPU (`twinjax.solver.step_groups`).
STEPS_TOGETHER_ON_GPU = 8


class Execution(NamedTuple):
    """Of passes that read neighbours; it is part of the compiled program.

    `kernel`: "pallas", our own for GPUs (`twinjax.domain.gpu_kernel`; elsewhere interpreted, which is slow and of use
    to tests only), "xla", or "auto": the one on GPUs, the other elsewhere. `mesh`: None for one device, or a mesh of
    one axis over whose devices the first axis of the grid is split into slabs (`twinjax.domain.slabs`).
    """

    kernel: str = "auto"
    mesh: Mesh | None = None

    @classmethod
    def create(cls, devices: int, kernel: str) -> "Execution":
        """On the first `devices` there are; `InputError` where there are fewer, and for an unknown kernel."""
        if kernel not in KERNELS:
            raise InputError(f"solver.kernel '{kernel}' is unknown; choose one of {', '.join(KERNELS)}")
        if devices < 1:
            raise InputError(f"solver.devices must be 1 or more, got {devices}")
        if devices == 1:
            return cls(kernel)
        found = jax.devices()
        if len(found) < devices:
            raise InputError(
                f"solver.devices is {devices}, but there are {len(found)} ({found[0].platform}); ask for fewer, or on "
                f"a CPU set XLA_FLAGS=--xla_force_host_platform_device_count={devices}"
            )
        return cls(kernel, Mesh(np.asarray(found[:devices]), (SLAB,)))

    @property
    def steps_together(self) -> int:
        """Steps of a solve in one pass of the loop."""
        return STEPS_TOGETHER_ON_GPU if jax.default_backend() == "gpu" else 1

    @property
    def slabs(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    def sharding(self, axis: int) -> NamedSharding:
        """Of an array that is split along `axis`."""
        assert self.mesh is not None
        return NamedSharding(self.mesh, P(*[None] * axis, SLAB))
