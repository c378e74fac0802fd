"""Arguments of other `generate` functions are refused with what does the same here."""

import inspect
import re

import pytest
from transformers import GenerationConfig, GenerationMixin
from transformers import generation as stock

from ardm import ARDMGenerationConfig
from ardm.generation_config_ardm import SETTINGS
from ardm.replacements import REPLACEMENTS, in_place_of

from .rows import masks


def test_no_replaced_name_is_a_setting():
    assert not {*REPLACEMENTS} & {*SETTINGS}


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_a_replacement_names_what_exists(name):
    text = REPLACEMENTS[name]
    for stock_class in re.findall(r"=\[(\w+)\(", text):
        assert hasattr(stock, stock_class) or stock_class.startswith("TopH")
    first = re.match(r"[a-z_]+", text)[0]
    arguments = {"logits_processor", "stopping_criteria"}
    assert first in {*SETTINGS} | arguments | {"nothing", "a"}


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_generate_names_the_replacement(plain, name):
    for call in (lambda: plain.generate(masks(1, 2), **{name: 1}),):
        with pytest.raises(ValueError, match=rf"unknown .*\['{name}'\].* In place of {name}: "):
            call()
    with pytest.raises(ValueError, match=f"In place of {name}: "):
        ARDMGenerationConfig(**{name: 1})


def test_every_common_argument_of_transformers_means_something():
    common = {
        "max_length",
        "max_new_tokens",
        "min_length",
        "min_new_tokens",
        "early_stopping",
        "max_time",
        "stop_strings",
        "do_sample",
        "num_beams",
        "use_cache",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "bad_words_ids",
        "eos_token_id",
        "pad_token_id",
        "num_return_sequences",
        "output_scores",
        "output_logits",
        "return_dict_in_generate",
        "suppress_tokens",
        "guidance_scale",
        "assistant_model",
        "past_key_values",
        "prefix_allowed_tokens_fn",
    }
    known = {*vars(GenerationConfig()), *inspect.signature(GenerationMixin.generate).parameters}
    assert common - {"past_key_values"} <= known  # no name of another world
    assert common <= {*SETTINGS} | {*REPLACEMENTS}


def test_what_exists_nowhere_has_no_hint():
    assert in_place_of(["telepathy"]) == ""
    assert in_place_of(["num_beams", "telepathy", "alg"]).count("In place of") == 2
