"""The forward solve of a treated tumour."""

from twinjax.simulation.simulate import Trajectory as Trajectory
from twinjax.simulation.simulate import simulate as simulate
