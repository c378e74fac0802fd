"""Adapters: a model of which only small matrices beside its own are trained (LoRA, by peft).

    W x  becomes  W x + (alpha / r) B A x        A (r, in) random, B (out, r) zero: W stays

(arXiv 2106.09685.) A saved folder holds A and B alone, the tokenizer and the card; it names the
model that it belongs to, which may be such a folder, too.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..new_tokens import use_eos
from ..training import check_integer
from ..training.hub_names import may_be_on_the_hub
from ..training.model_folders import find_model, loading, read_json, read_model_json
from .loading import load

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER_CONFIG = "adapter_config.json"
_ALL_LINEAR = "all-linear"  # peft's name of all but the head


def add_adapters(
    model: Any,
    r: int,
    alpha: float | None = None,
    target_modules: Sequence[str] = (),
    dropout: float = 0.0,
    trained_tokens: Sequence[int] = (),
) -> "PeftModel":
    """Freezes a model and puts adapters beside its matrices, which change nothing at first.

    Args:
        model: a `PreTrainedModel`; changed in place.
        r: rank of the adapters.
        alpha: of alpha / r, their weight; None = 2 r.
        target_modules: ends of names of linear layers; none = all but the head.
        dropout: of what the adapters read.
        trained_tokens: ids whose rows of the embedding are trained and saved, too.

    Returns:
        peft's wrapper of the model, with its `generate`.

    Raises:
        ImportError: if peft is not installed.
        ValueError: if a number is out of range or there are no such layers.
    """
    peft = _peft()
    r = check_integer("lora_r", r, 1)
    alpha = 2 * r if alpha is None else alpha
    if not 0 < alpha < float("inf") or not 0 <= dropout < 1:
        raise ValueError(
            f"got lora_alpha={alpha} and lora_dropout={dropout}; expected a number above 0 and one"
            " in [0, 1)."
        )
    chosen: Any = list(target_modules) or _ALL_LINEAR
    _check_targets(model, target_modules)
    settings = peft.LoraConfig(
        r=r,
        lora_alpha=alpha,
        target_modules=chosen,
        lora_dropout=dropout,
        trainable_token_indices=list(trained_tokens) or None,
    )
    with _current_transformers():
        adapted = peft.get_peft_model(model, settings)
    # else peft asks the Hub whether the vocabulary has grown
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)
    return adapted


def load_adapters(
    name_or_path: str | os.PathLike[str],
    base: str | os.PathLike[str] | None = None,
    *,
    trust_remote_code: bool = False,
) -> "tuple[PeftModel, PreTrainedTokenizerBase]":
    """Reads adapters and the model that they belong to.

    Args:
        name_or_path: the folder, or "user/name" on the Hub.
        base: of the model, if it is no longer where the adapters were trained.
        trust_remote_code: run code that comes with that model.

    Returns:
        The model with its adapters in evaluation mode (`merge_and_unload()` gives a plain one),
        and its tokenizer.

    Raises:
        ImportError: if peft is not installed.
        ValueError: if a file is missing or damaged, or there is no such model.
    """
    PeftModel = _peft().PeftModel
    name = find_model(name_or_path, ADAPTER_CONFIG)
    if base is None:
        with loading(name, "adapters"):
            base = read_model_json(name, ADAPTER_CONFIG).get("base_model_name_or_path")
            if not base:
                raise ValueError(f"its {ADAPTER_CONFIG} names no base model; name one")
    model, _ = load_whole(base, trust_remote_code=trust_remote_code)
    with loading(name, "adapters"), _current_transformers():
        tokenizer = AutoTokenizer.from_pretrained(name)
        use_eos(model, tokenizer, new_rows=False)
        adapted = PeftModel.from_pretrained(model, name)
    return adapted.eval(), tokenizer


def load_whole(
    name_or_path: str | os.PathLike[str], *, trust_remote_code: bool = False
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Reads a model; of adapters alone, their model with them in its weights.

    Args:
        name_or_path: a folder, or "user/name" on the Hub.
        trust_remote_code: run code that comes with a model of someone else's.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        ImportError: if there are adapters, and peft is not installed.
        ValueError: if there is no such model, or a file is missing or damaged.
    """
    if not _adapters_alone(name_or_path):
        return load(name_or_path, trust_remote_code=trust_remote_code)
    adapted, tokenizer = load_adapters(name_or_path, trust_remote_code=trust_remote_code)
    model: Any = adapted.merge_and_unload()
    model.name_or_path = os.fspath(name_or_path)  # what adapters beside it belong to
    measured = Path(name_or_path).expanduser() / "generation_config.json"
    losses = read_json(measured).get("per_step_losses") if measured.is_file() else None
    model.generation_config.per_step_losses = losses  # no longer the base's
    return model.eval(), tokenizer


def _adapters_alone(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether a folder or repository has adapters and no model; False if there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    folder = Path(name_or_path).expanduser()
    if os.path.lexists(folder):
        return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()
    name = os.fspath(name_or_path)
    if not may_be_on_the_hub(name):
        return False
    model, adapters = (
        isinstance(try_to_load_from_cache(name, file), str)
        for file in ("config.json", ADAPTER_CONFIG)
    )
    if model or adapters:
        return not model
    try:
        find_model(name)
    except ValueError as error:  # told by `load`, unless the repository lacks that file alone
        if isinstance(error.__cause__, EntryNotFoundError):
            return find_model(name, ADAPTER_CONFIG) == name
    return False


@contextmanager
def _current_transformers() -> Iterator[None]:
    """peft asks transformers by a name that is going to be dropped, which is no user's matter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _check_targets(model: nn.Module, wanted: Sequence[str]) -> None:
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    ends = sorted({name.rpartition(".")[2] for name in linear})
    for target in wanted:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise ValueError(f"lora_target_modules has {target!r}; expected some of {ends}.")


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ImportError(
            "LoRA needs peft: pip install peft (or the optional extra `peft`)."
        ) from error
    return peft
