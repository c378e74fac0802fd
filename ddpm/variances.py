"""The variance of p(x_{t-1} | x_t), as its logarithm: fixed, or the output's second half v.

    fixed_small    log posterior_variance_t     the least it may be; right for a known image
    fixed_large    log beta_t                   the most; right for standard normal data
    learned        v                            the output itself
    learned_range  (v + 1) / 2 log beta_t + (1 - v) / 2 log posterior_variance_t

(learned_range: arXiv 2102.09672, equation 15; v is not limited to [-1, 1].) At t = 0 the posterior
is a point; its logarithm is taken from t = 1, and so is fixed_large's, as in improved-diffusion.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .tables import Table


class LogVariances:
    """The logarithms of the fixed variances.

    Args:
        betas: float64 (T,).
        posterior_variance: float64 (T,), 0 at t = 0.
    """

    def __init__(self, betas: Tensor, posterior_variance: Tensor):
        first = posterior_variance[1:2] if len(betas) > 1 else betas
        self.small = Table(torch.cat((first, posterior_variance[1:])).log())
        self.large = Table(torch.cat((first, betas[1:])).log())
        self.beta = Table(betas.log())


# tables, t, second half of the output -> log-variance
_LogVariance = Callable[[LogVariances, Tensor | int, Tensor], Tensor | float]


def _learned_range(tables: LogVariances, t: Tensor | int, v: Tensor) -> Tensor:
    share = (v + 1) / 2
    return share * tables.beta.at(t, v) + (1 - share) * tables.small.at(t, v)


VARIANCES: dict[str, _LogVariance] = {
    "fixed_small": lambda tables, t, like: tables.small.at(t, like),
    "fixed_large": lambda tables, t, like: tables.large.at(t, like),
    "learned": lambda tables, t, v: v,
    "learned_range": _learned_range,
}
LEARNED = ("learned", "learned_range")
