"""Time steppers that diffrax lacks."""

from twinjax.solver.runge_kutta_legendre import RungeKuttaLegendre as RungeKuttaLegendre
from twinjax.solver.runge_kutta_legendre import rkl2 as rkl2
from twinjax.solver.splitting import AbstractSplitSystem as AbstractSplitSystem
from twinjax.solver.splitting import StrangSplitting as StrangSplitting
from twinjax.solver.splitting import StrangSteps as StrangSteps
