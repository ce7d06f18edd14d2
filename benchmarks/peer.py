"""The peer's way: torchdiffeq, fourth-order Runge-Kutta with steps of half a day, plain PyTorch stencils.

The same equations and the same faces as twinjax. Fractions stop the solve; the drug's kill rate is sampled where the
method asks for it.
"""

import numpy as np
import torch
from kernel import faces_on_grid
from torchdiffeq import odeint

STEP_DAYS = 0.5


def solve(model, treatments, state0, days: float, device: str = "cpu") -> np.ndarray:
    """The density at `days` from that at day 0, in single precision; `device` as PyTorch names it."""
    faces = [torch.tensor(face, device=device) for face in faces_on_grid(model.transport(None), model.domain.shape)]
    rate, capacity = float(model.proliferation_rate), float(model.carrying_capacity)
    fractions, drug = treatments.impulsive[0], treatments.continuous[0]
    doses = torch.tensor(np.asarray(drug.times, np.float32), device=device)
    strength = torch.tensor(np.asarray(drug.sensitivity * drug.doses / drug.reference_dose), device=device)
    clearance = float(drug.clearance_rate)

    def right_hand_side(t, u):
        change = torch.zeros_like(u)
        for axis, face in enumerate(faces):
            n = u.shape[axis] - 1
            flux = face.narrow(axis, 0, n) * (u.narrow(axis, 1, n) - u.narrow(axis, 0, n))
            change.narrow(axis, 0, n).add_(flux)
            change.narrow(axis, 1, n).sub_(flux)
        elapsed = t - doses
        kill = torch.where(elapsed >= 0, strength * torch.exp(-clearance * elapsed.clamp(min=0)), 0.0).sum()
        return change + rate * u * (1 - u / capacity) - kill * u

    u, now = torch.tensor(np.asarray(state0, np.float32), device=device), 0.0
    survival = np.exp(-np.asarray(fractions.log_kill))
    stops = [(float(t), float(s)) for t, s in zip(fractions.times, survival, strict=True) if float(t) < days]
    with torch.no_grad():
        for time, fraction in [*sorted(stops), (days, 1.0)]:
            if time > now:
                span = torch.tensor([now, time], device=device)
                u = odeint(right_hand_side, u, span, method="rk4", options={"step_size": STEP_DAYS})[-1]
            u, now = fraction * u, time
    return u.cpu().numpy()
