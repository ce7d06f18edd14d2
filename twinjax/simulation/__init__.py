"""The forward solve of a treated tumour."""

from twinjax.simulation.batch import side_by_side as side_by_side
from twinjax.simulation.density_operator import DensityOperator as DensityOperator
from twinjax.simulation.operator_file import load_operator as load_operator
from twinjax.simulation.operator_file import save_operator as save_operator
from twinjax.simulation.simulate import Trajectory as Trajectory
from twinjax.simulation.simulate import simulate as simulate
