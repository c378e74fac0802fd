"""ARDMLikelihoodMixin: what a text costs, asked of the model itself.

`model.nelbo(input_ids, ...)` is `nelbo(model, input_ids, ...)`, and so on.
"""

from .likelihood import nelbo
from .path_likelihood import log_prob
from .step_losses import measure_step_losses, per_step_losses


class ARDMLikelihoodMixin:
    """Gives a masked language model its likelihood. Put it before the model class in the bases.

    Each method is the function of its name, with the model as the first argument:
    [`nelbo`](likelihood.py) the bound and its standard error, [`log_prob`](path_likelihood.py) the
    exact log-probability along an order, [`per_step_losses`](step_losses.py) the loss at each
    number of known tokens, and [`measure_step_losses`](step_losses.py) the same by sequence.
    """

    nelbo = nelbo
    log_prob = log_prob
    per_step_losses = per_step_losses
    measure_step_losses = measure_step_losses
