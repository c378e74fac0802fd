"""MuonAdamW: orthogonalised momentum for the matrices of the blocks, AdamW for everything else.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): for a matrix W with gradient G,

    M <- beta M + (1 - beta) G
    W <- W - lr * sqrt(max(1, rows / cols)) * orthogonalise(beta M + (1 - beta) G)

where orthogonalise(U S V^T) ~ U V^T is a fixed number of Newton-Schulz steps. `torch.optim.Muon`
runs them in bfloat16, which a CPU without native support does about 50 times slower than float32;
here they run in the gradient's own dtype, all matrices of one shape in one batched product.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# The odd quintics of Polar Express (arXiv 2505.16932, algorithm 1), with the paper's safety factor,
# for singular values in [1e-3, 1]: the first steps are steeper than those of the original Muon.
_SAFETY = 1.01
_COEFFICIENTS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


def orthogonalise(gradients: Tensor, num_steps: int = 3) -> Tensor:
    """Replaces the singular values of each matrix by numbers around 1.

    For random 192 x 192 matrices they lie in 0.10..1.87 after 3 steps and in 0.69..1.13 after 5
    (measured). For Muon 3 are enough: an update needs a direction, not an exact orthogonal matrix.

    Args:
        gradients: (..., rows, cols), floating point.
        num_steps: Newton-Schulz steps, 1..5.

    Returns:
        Tensor of the same shape and dtype.
    """
    tall = gradients.shape[-2] > gradients.shape[-1]
    x = gradients.mT if tall else gradients
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * _SAFETY + 1e-7)
    for a, b, c in _COEFFICIENTS[:num_steps]:
        gram = x @ x.mT
        x = (a / _SAFETY) * x + ((b / _SAFETY**3) * gram + (c / _SAFETY**5) * gram @ gram) @ x
    return x.mT if tall else x


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with `use_muon=True` are updated by Muon instead.

    Args:
        params: parameter groups; those with `use_muon` hold matrices only.
        lr: learning rate of groups without their own.
        betas: AdamW's averages.
        eps: AdamW's epsilon.
        weight_decay: decoupled weight decay, as a share of lr.
        momentum: Muon's beta.
        num_steps: Newton-Schulz steps.

    Raises:
        ValueError: if a Muon group holds a tensor that is no matrix.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        num_steps: int = 3,
    ):
        self.muon_defaults = {"use_muon": False, "momentum": momentum, "num_steps": num_steps}
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        # fp16: the scaler itself must skip an overflowing step, Muon knows nothing of `found_inf`
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], Tensor] | None = None
    ) -> Tensor | None:
        """Updates all parameters that have a gradient.

        Args:
            closure: recomputes the loss, as in any torch optimiser.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:  # before the groups are hidden: it calls zero_grad on all of them
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["use_muon"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["use_muon"]:
                self._muon_step(group)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, as the constructor does for each of its own.

        Args:
            param_group: `params`, and any of the settings.

        Raises:
            ValueError: if a Muon group holds a tensor that is no matrix.
        """
        super().add_param_group(self.muon_defaults | param_group)
        group = self.param_groups[-1]
        shapes = [tuple(p.shape) for p in group["params"] if group["use_muon"] and p.ndim != 2]
        if shapes:
            raise ValueError(
                f"a Muon group holds tensors of shape {shapes}; expected matrices only."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._step_supports_amp_scaling = False

    def _muon_step(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is not None:
                by_shape.setdefault(param.shape, []).append(param)
        for (rows, columns), params in by_shape.items():
            grads = [param.grad for param in params if param.grad is not None]
            buffers = [self._momentum_buffer(param) for param in params]
            torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
            nesterov = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"]))
            updates = orthogonalise(nesterov, group["num_steps"])
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            size = group["lr"] * max(1, rows / columns) ** 0.5
            torch._foreach_sub_(params, list((updates * size).unbind()))

    def _momentum_buffer(self, param: Tensor) -> Tensor:
        state = self.state[param]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(param)
            # Muon needs none, but AdamW's loading asks every parameter's state for it
            state["step"] = torch.zeros(())
        return state["momentum_buffer"]


def muon_adamw(
    model: nn.Module, learning_rate: float, *, muon_learning_rate: float | None, **kwargs: Any
) -> MuonAdamW:
    """The usual split: Muon for matrices, AdamW for embeddings, heads, norms and convolutions.

    Args:
        model: a `PreTrainedModel`, whose input and output embeddings are known, or any module.
        learning_rate: AdamW's.
        muon_learning_rate: Muon's, the size of an update in units of an orthogonal matrix; None =
            AdamW for the matrices, too.
        **kwargs: further arguments of [`MuonAdamW`].

    Returns:
        The optimiser.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    embeddings = {id(layer.weight) for layer in layers}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None:
        embeddings.add(id(head.weight))
    trained = [param for param in model.parameters() if param.requires_grad]
    matrices = [param for param in trained if param.ndim == 2 and id(param) not in embeddings]
    if muon_learning_rate is None:
        matrices = []
    chosen = {id(param) for param in matrices}
    groups: list[dict[str, Any]] = [
        {"params": [param for param in trained if id(param) not in chosen], "lr": learning_rate},
        {"params": matrices, "lr": muon_learning_rate, "use_muon": True},
    ]
    return MuonAdamW([group for group in groups if group["params"]], **kwargs)
