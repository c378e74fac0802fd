"""Arguments of other `generate` functions are refused with what does the same here."""

import inspect
import re

import pytest
from transformers import GenerationConfig, GenerationMixin
from transformers import generation as stock

from ardm import ARDMGenerationConfig, ARDMGenerationMixin
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
    arguments = {"logits_processor", "stopping_criteria", "streamer", "input_ids"}
    calls = {"a", "adopt", "model", "tokenizer"}  # of something else
    assert first in {*SETTINGS} | arguments | calls | {"nothing"}


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_generate_names_the_replacement(plain, name):
    own = {"token_type_ids"}  # an argument of `generate` that is no setting
    if name not in own:
        with pytest.raises(ValueError, match=rf"unknown .*\['{name}'\].* In place of {name}: "):
            plain.generate(masks(1, 2), **{name: 1})
    with pytest.raises(ValueError, match=f"In place of {name}: "):
        ARDMGenerationConfig(**{name: 1})


def test_every_argument_of_transformers_means_something():
    own = inspect.signature(ARDMGenerationMixin.generate).parameters
    theirs = {*vars(GenerationConfig()), *inspect.signature(GenerationMixin.generate).parameters}
    of_the_library = {"kwargs", "self", "transformers_version", "_from_model_config"}
    assert theirs - of_the_library <= {*SETTINGS} | {*REPLACEMENTS} | {*own}


@pytest.mark.parametrize(
    "names",
    [
        "steps gen_length block_length temperature cfg_scale remasking mask_id logits_eos_inf"
        " confidence_eos_eot_inf",  # LLaDA
        "max_length alg alg_temp eps output_history generation_tokens_hook_func"
        " generation_logits_hook_func top_p top_k",  # Dream
        "block_size steps_per_block stochastic_transfer right_shift_logits cfg_keep_tokens"
        " return_dict suppress_tokens begin_suppress_tokens",  # dllm
        "num_steps predictor noise_removal nucleus_p num_samples",  # MDLM
        "num_inference_steps num_images_per_prompt callback_on_step_end output_type prompt"
        " sampling_method editing_threshold eos_early_stop",  # diffusers
        "dual_cache threshold use_cache",  # Fast-dLLM
    ],
)
def test_every_well_known_argument_of_others_means_something(names):
    assert {*names.split()} <= {*SETTINGS} | {*REPLACEMENTS}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("max_new_tokns", "max_new_tokens"),
        ("maxnewtokens", "max_new_tokens"),
        ("token_per_step", "tokens_per_step"),
        ("temprature", "temperature"),
        ("logit_processor", "logits_processor"),
        ("atention_mask", "attention_mask"),
        ("num_beems", "num_beams"),
        ("gen_len", "gen_length"),
    ],
)
def test_a_misspelt_name_is_told_apart_from_one_of_another_world(plain, misspelt, meant):
    with pytest.raises(ValueError, match=rf"\(did you mean {meant}\?\)\.") as error:
        plain.generate(masks(1, 2), **{misspelt: 1})
    of_others = f" In place of {meant}: {REPLACEMENTS.get(meant)}." in str(error.value)
    assert of_others == (meant in REPLACEMENTS)
    assert "Expected some of" not in str(error.value)  # the one that was meant is enough


def test_of_a_name_that_resembles_none_all_are_told(plain):
    with pytest.raises(ValueError, match=r"\['telepathy'\]\. Expected some of .*'max_new_tokens'"):
        plain.generate(masks(1, 2), telepathy=1)


def test_what_exists_nowhere_has_no_hint():
    assert in_place_of(["telepathy"]) == ""
    assert in_place_of(["num_beams", "telepathy", "alg"]).count("In place of") == 2
