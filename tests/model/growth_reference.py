"""Growth with kill by an adaptive solver, which the flows of growth laws are held to."""

import diffrax


def solved(law, density, duration, kill_rate, *, rate, capacity):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, u, _: law.growth(u, rate, capacity) - kill_rate * u),
        diffrax.Tsit5(),
        0.0,
        duration,
        0.1,
        density,
        stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-20),
    )
    assert solution.ys is not None
    return solution.ys[-1]
