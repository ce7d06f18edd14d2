"""The forward solve of a treated tumour."""

from twinjax.simulation.batch import side_by_side as side_by_side
from twinjax.simulation.simulate import Trajectory as Trajectory
from twinjax.simulation.simulate import simulate as simulate
