"""Non-small-cell lung cancer: volume growth, tumour growth inhibition, radiobiology."""

import diffrax
import jax.numpy as jnp
import numpy as np
from case import Case

from twinjax.core.config import load_named
from twinjax.model import ClaretInhibition, SteinRegression, VolumeModel
from twinjax.simulation import simulate
from twinjax.treatment import Regimen, SaturatedRadiotherapy, radiotherapy_course

GENG = "closed form K (V0 / K)^exp(-rho t), values of Geng et al. 2017, Sci Rep 7:13542"
CLARET = "Claret et al. 2014"
STEIN = "nadir of the closed form, rates of Struemper et al. 2025"
RADIOBIOLOGY = "linear-quadratic model, 60 Gy in 30 fractions, "
PSI = "one fraction in closed form; Prokopiou et al. 2015, Radiat Oncol 10:159"


def solved(model, size: float, days: float, regimen: Regimen | None = None, quantity: str = "volume_mm3") -> float:
    """The quantity at `days`, by the solver and not by the closed form."""
    start = model.initial_state(jnp.asarray(size, float))
    exact = diffrax.PIDController(rtol=1e-9, atol=1e-12)
    end = simulate(model, regimen or Regimen(), start, [days], stepsize_controller=exact).require_success().states
    return float(np.squeeze(model.quantities(end)[quantity]))


def gompertz_volume_cm3(rate: float) -> float:
    """From a sphere of 3 cm."""
    model = VolumeModel(growth="gompertz", proliferation_rate=rate, carrying_capacity_mm3=14_137_000.0)
    return solved(model, np.pi / 6 * 30**3, 365.0) / 1000


def claret_ratio_week_8() -> float:
    return solved(ClaretInhibition(), 90.0, 56.0, quantity="sum_of_diameters_mm") / 90


def stein_nadir_ratio() -> float:
    model = SteinRegression()
    return solved(model, 86.07, 7 * float(model.nadir_week), quantity="sum_of_diameters_mm") / 86.07


def log10_kill(alpha: float, alpha_beta_ratio: float) -> float:
    """Of a course on a tumour that does not grow."""
    course = radiotherapy_course(0, 30, 2.0, alpha=alpha, alpha_beta_ratio=alpha_beta_ratio)
    # An exponent this large is lost in no digit: the volume starts at 1e20 mm³.
    still = VolumeModel(growth="logistic", proliferation_rate=0.0, carrying_capacity_mm3=1e24)
    return float(20 - np.log10(solved(still, 1e20, 60.0, course)))


def saturated_fraction() -> float:
    course = radiotherapy_course(0, 1, 2.0, alpha=0.305, alpha_beta_ratio=2.8)
    still = VolumeModel(growth="logistic", proliferation_rate=0.0, carrying_capacity_mm3=20_000.0)
    saturated = Regimen(SaturatedRadiotherapy(treatment) for treatment in course.treatments)
    return solved(still, 15_000.0, 1.0, saturated) / 15_000


def biologically_effective_dose_gy() -> float:
    plan = load_named("treatment", "radiotherapy_60_30").impulsive[0]
    return float(plan.biologically_effective_dose(2.8))


CASES = [
    Case("Gompertz, rho 7e-5, day 365", 16.828, lambda: gompertz_volume_cm3(7e-5), 3e-5, "cm³", GENG),
    Case("Gompertz, rho 0.001, day 365", 116.888, lambda: gompertz_volume_cm3(0.001), 4.3e-6, "cm³", GENG),
    Case("Gompertz, rho 0.00723, day 365", 8630.76, lambda: gompertz_volume_cm3(0.00723), 6e-7, "cm³", GENG),
    Case("Claret, time to growth", 117.3, lambda: float(ClaretInhibition().time_to_growth), 5e-4, "d", CLARET),
    Case("Claret, week 8 to baseline", 0.746, claret_ratio_week_8, 7e-4, "1", CLARET),
    Case("Stein, pembrolizumab, nadir", 40.8, lambda: float(SteinRegression().nadir_week), 1.3e-3, "week", STEIN),
    Case("Stein, pembrolizumab, nadir to baseline", 0.804, stein_nadir_ratio, 7e-4, "1", STEIN),
    Case(
        "log10 kill, clonogenic alpha",
        13.62,
        lambda: log10_kill(0.305, 2.8),
        4e-4,
        "1",
        RADIOBIOLOGY + "alpha 0.305 1/Gy, alpha/beta 2.8 Gy (Jeong et al. 2017, Clin Cancer Res)",
    ),
    Case(
        "log10 kill, effective alpha",
        1.245,
        lambda: log10_kill(0.0398, 10.0),
        5e-4,
        "1",
        RADIOBIOLOGY + "alpha 0.0398 1/Gy, alpha/beta 10 Gy (Geng et al. 2017, Sci Rep 7:13542)",
    ),
    Case(
        "Proliferation saturation 0.75, 2 Gy",
        1 - (1 - np.exp(-0.305 * 2 * (1 + 2 / 2.8))) * 0.25,
        saturated_fraction,
        1e-12,
        "1",
        PSI,
    ),
    Case("BED of 60 Gy in 30, alpha/beta 2.8", 102.9, biologically_effective_dose_gy, 5e-4, "Gy", "n d (1 + d / 2.8)"),
]
