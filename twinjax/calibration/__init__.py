"""Calibration: one inverse problem, many methods."""

from twinjax.calibration.calibrator import AbstractCalibrator as AbstractCalibrator
from twinjax.calibration.course import course_problem as course_problem
from twinjax.calibration.estimator import BayesianCalibration as BayesianCalibration
from twinjax.calibration.estimator import ParameterEstimator as ParameterEstimator
from twinjax.calibration.importance import ImportanceSampler as ImportanceSampler
from twinjax.calibration.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from twinjax.calibration.longitudinal import longitudinal_problem as longitudinal_problem
from twinjax.calibration.nuts import NoUTurnSampler as NoUTurnSampler
from twinjax.calibration.posterior import Posterior as Posterior
from twinjax.calibration.prior import Parameter as Parameter
from twinjax.calibration.prior import Prior as Prior
from twinjax.calibration.problem import Datum as Datum
from twinjax.calibration.problem import InverseProblem as InverseProblem
from twinjax.calibration.problem import coarse_and_fine as coarse_and_fine
from twinjax.calibration.single_scan import single_scan_problem as single_scan_problem
from twinjax.calibration.tumor import Tumor as Tumor
