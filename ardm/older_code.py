"""Older code: classes of repositories that were written for transformers 4, made to load in 5.

    post_init()            5 expects every model to have called it; LLaDA's code never does
    tie_weights(...)       5 passes arguments; older overrides take none
    _tied_weights_keys     5 wants a dictionary; a list was enough
    can_generate           5 asks the class; older code answers for an instance
    ROPE_INIT_FUNCTIONS    5 has no "default" any more, which Dream's code looks up
    buffers                5 makes models without memory and leaves it to them to fill in buffers
                           that no file holds, such as rotary frequencies; older code fills in none

Their files are not touched: a subclass of the same name does what is missing.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


@cache
def completed(model_class: Any) -> Any:
    """A class of a repository's own code with what transformers 5 expects of it.

    Args:
        model_class: a `PreTrainedModel`, loaded by `trust_remote_code=True`.

    Returns:
        A subclass of the same name.
    """
    own: dict[str, Any] = {
        "__module__": model_class.__module__,
        "__doc__": model_class.__doc__,
        "__init__": _init_of(model_class),
        "can_generate": classmethod(lambda cls: False),
        "from_pretrained": classmethod(_loading_of(model_class)),
    }
    if isinstance(getattr(model_class, "_tied_weights_keys", None), (list, tuple)):
        own["_tied_weights_keys"] = None
    if len(inspect.signature(model_class.tie_weights).parameters) == 1:
        own["tie_weights"] = lambda self, *args, **kwargs: model_class.tie_weights(self)
    return type(model_class.__name__, (model_class,), own)


def _init_of(model_class: Any) -> Any:
    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        with _plain_rotary_frequencies():
            model_class.__init__(self, config, *args, **kwargs)
        if not hasattr(self, "all_tied_weights_keys"):
            self.post_init()

    return __init__


def _loading_of(model_class: Any) -> Any:
    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        model = model_class.from_pretrained.__func__(cls, *args, **kwargs)
        with _without_weights(), _plain_rotary_frequencies():
            made = model_class(model.config)
        fresh = {name: buffer for name, buffer, _ in _unsaved_buffers(made)}
        for name, buffer, module in _unsaved_buffers(model):
            value = fresh[name].to(device=buffer.device, dtype=buffer.dtype)
            module._buffers[name.rpartition(".")[2]] = value
        return model

    return from_pretrained


def _unsaved_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module]]:
    """Name, value and module of each buffer that no file holds."""
    for prefix, module in model.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            if module._buffers[name] is not None:
                yield f"{prefix}.{name}", module._buffers[name], module


@contextmanager
def _without_weights() -> Iterator[None]:
    """Within it, modules are made with parameters that take no memory, but real buffers."""
    register = nn.Module.register_parameter

    def without_memory(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        register(self, name, parameter)

    nn.Module.register_parameter = without_memory  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def _plain_rotary_frequencies() -> Iterator[None]:
    """Within it, the rotary frequencies that need no scaling have their old name."""
    if "default" in ROPE_INIT_FUNCTIONS:
        yield
        return
    ROPE_INIT_FUNCTIONS["default"] = _frequencies
    try:
        yield
    finally:
        del ROPE_INIT_FUNCTIONS["default"]


def _frequencies(
    config: Any = None, device: Any = None, seq_len: Any = None, **settings: Any
) -> tuple[Tensor, float]:
    """theta^(-2i / d) for i = 0 .. d/2 - 1 (arXiv 2104.09864, equation 15), and the scale 1."""
    theta: Any = settings.get("base")
    width: Any = settings.get("dim")
    if config is not None:
        theta = config.rope_theta
        width = getattr(config, "head_dim", None)
        width = width or config.hidden_size // config.num_attention_heads
    steps = torch.arange(0, width, 2, dtype=torch.int64).to(device=device, dtype=torch.float)
    return 1.0 / theta ** (steps / width), 1.0
