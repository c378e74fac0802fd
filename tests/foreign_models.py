"""Folders of tiny models of transformers' own classes with tokenizers, as the Hub has them."""

from pathlib import Path

import torch
from tokenizers import processors
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from ardm.data import build_tokenizer, embedded_text

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def write_bert(folder: Path, max_length: int = 128) -> None:
    """A BERT of characters: [CLS] and [SEP] around a text, padding of its own."""
    tokenizer = build_tokenizer("char", embedded_text())
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    around = [("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=around
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=max_length,
        initializer_range=0.3,
        **_SIZES,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_llama(folder: Path, max_length: int = 256) -> None:
    """A Llama of characters: BOS before a text, EOS behind it, no mask token, spare rows."""
    tokenizer = build_tokenizer("char", embedded_text())
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    tokenizer.mask_token = None
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=max_length,
        initializer_range=0.3,
        **_SIZES,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
