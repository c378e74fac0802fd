"""Steps: how samplers go from x at level l to level l - 1, by name; the loop is in samplers.py.

    ddpm                a draw from p                        single_steps.py
    ddim                first order, deterministic or not
    heun                second order, two network calls
    dpm_solver++        second order, one call a step        multistep.py
    dpm_solver++3m      third order
    sde_dpm_solver++    second order, with new noise
    unipc2, unipc3      second and third, each step corrected once the next is known     unipc.py

Which to take for how many steps is measured in docs/images.md.
"""

from typing import Any

from .multistep import DPMSolver3Step, DPMSolverStep, SDEDPMSolverStep
from .single_steps import AncestralStep, DDIMStep, HeunStep, Predict, Step
from .unipc import UniPC2Step, UniPC3Step

__all__ = ["STEPS", "Predict", "Step"]

STEPS: dict[str, type[Any]] = {
    "ddpm": AncestralStep,
    "ddim": DDIMStep,
    "heun": HeunStep,
    "dpm_solver++": DPMSolverStep,
    "dpm_solver++3m": DPMSolver3Step,
    "unipc2": UniPC2Step,
    "unipc3": UniPC3Step,
    "sde_dpm_solver++": SDEDPMSolverStep,
}
