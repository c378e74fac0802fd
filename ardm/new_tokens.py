"""New tokens: rows of a model's embedding for ids that its tokenizer has got since.

    row = mean of the old rows        of both tables: nothing is left to chance

transformers draws them, so that two processes would have two models.
"""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many ids a tokenizer has, with the gaps between them: the highest and one.

    Args:
        tokenizer: any.

    Returns:
        The number; 0 of an empty vocabulary.
    """
    return max(tokenizer.get_vocab().values(), default=-1) + 1


@torch.no_grad()
def add_rows(model: Any, num_rows: int) -> None:
    """Gives the embeddings of a model more rows, each the mean of the old ones.

    torch's random numbers go on as if nothing had been drawn.

    Args:
        model: a `PreTrainedModel`; changed in place.
        num_rows: afterwards.

    Raises:
        ValueError: if the model has as many rows already.
    """
    num_old = model.config.vocab_size
    if num_rows <= num_old:
        raise ValueError(
            f"num_rows is {num_rows}; expected more than the {num_old} that are there."
        )
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(num_rows, mean_resizing=False)
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if table is not None:  # a head may have none of its own
            table.weight[num_old:] = table.weight[:num_old].mean(0)


def use_eos(model: Any, tokenizer: PreTrainedTokenizerBase, new_rows: bool = True) -> None:
    """Makes a model's EOS the tokenizer's: it ends answers, and is learned and generated.

    Also where it stood around texts, and so was always given, as [SEP] does.

    Args:
        model: changed in place.
        tokenizer: with an EOS token.
        new_rows: whether the embedding may get a row for it.

    Raises:
        ValueError: if a row is needed that nobody would train.
    """
    size = vocabulary_size(tokenizer)
    if size > model.config.vocab_size:
        if not new_rows:
            raise ValueError(
                f"the tokenizer's EOS {tokenizer.eos_token!r} is new to the model, and adapters"
                " would not train its row; expected one of the vocabulary (--eos_token), or no"
                " --lora_r."
            )
        add_rows(model, size)
    if getattr(model.config, "tokenizer_size", None) is not None:
        model.config.tokenizer_size = max(size, model.config.tokenizer_size)
    eos = tokenizer.eos_token_id
    given = getattr(model.config, "given_token_ids", None)
    if given:
        model.config.given_token_ids = [token for token in given if token != eos]
    known = model.config.eos_token_id  # chat models have several
    model.config.eos_token_id = known if isinstance(known, list) and eos in known else eos
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = model.config.eos_token_id
