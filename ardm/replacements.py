"""Replacements: what arguments of other `generate` functions are called here.

transformers' own, and those of LLaDA, dllm and Dream. An argument that has no meaning in any order
is refused with what does the same here, or with why nothing does; none is ignored.
"""

from collections.abc import Iterable

_PROCESSORS = {
    "bad_words_ids": "NoBadWordsLogitsProcessor",
    "begin_suppress_tokens": "SuppressTokensAtBeginLogitsProcessor",
    "encoder_no_repeat_ngram_size": "EncoderNoRepeatNGramLogitsProcessor",
    "encoder_repetition_penalty": "EncoderRepetitionPenaltyLogitsProcessor",
    "epsilon_cutoff": "EpsilonLogitsWarper",
    "eta_cutoff": "EtaLogitsWarper",
    "exponential_decay_length_penalty": "ExponentialDecayLengthPenalty",
    "forced_bos_token_id": "ForcedBOSTokenLogitsProcessor",
    "forced_eos_token_id": "ForcedEOSTokenLogitsProcessor",
    "min_length": "MinLengthLogitsProcessor",
    "min_new_tokens": "MinNewTokensLengthLogitsProcessor",
    "no_repeat_ngram_size": "NoRepeatNGramLogitsProcessor",
    "prefix_allowed_tokens_fn": "PrefixConstrainedLogitsProcessor",
    "remove_invalid_values": "InfNanRemoveLogitsProcessor",
    "renormalize_logits": "LogitNormalization",
    "repetition_penalty": "RepetitionPenaltyLogitsProcessor",
    "sequence_bias": "SequenceBiasLogitsProcessor",
    "suppress_tokens": "SuppressTokensLogitsProcessor",
    "top_h": "TopHLogitsWarper",
    "typical_p": "TypicalLogitsWarper",
    "watermarking_config": "WatermarkLogitsProcessor",
}
_CRITERIA = {"stop_strings": "StopStringCriteria", "max_time": "MaxTimeCriteria"}
_NO_CACHE = "nothing: all positions see each other, so that there is no cache"
_NO_BEAMS = "nothing: there is no search; num_return_sequences draws several results"
_NO_DRAFTS = "nothing: tokens_per_step, threshold or entropy_bound take several tokens a step"
_FEWER_OUTPUTS = "return_dict_in_generate=True, whose log_probs are those of the tokens"
_IDS_ALONE = "nothing: generate takes input_ids and attention_mask; leave it out"

REPLACEMENTS = {
    **{name: f"logits_processor=[{stock}(...)]" for name, stock in _PROCESSORS.items()},
    **{name: f"stopping_criteria=[{stock}(...)]" for name, stock in _CRITERIA.items()},
    "max_length": "max_new_tokens, the number of masks behind each row's last token",
    **dict.fromkeys(
        ("use_cache", "past_key_values", "cache_implementation", "cache_config"), _NO_CACHE
    ),
    **dict.fromkeys(
        ("num_beams", "num_beam_groups", "early_stopping", "length_penalty", "penalty_alpha"),
        _NO_BEAMS,
    ),
    **dict.fromkeys(("diversity_penalty", "constraints", "force_words_ids"), _NO_BEAMS),
    **dict.fromkeys(
        ("assistant_model", "assistant_tokenizer", "prompt_lookup_num_tokens", "dola_layers"),
        _NO_DRAFTS,
    ),
    **dict.fromkeys(("output_scores", "output_logits"), _FEWER_OUTPUTS),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), "a call of the model itself"),
    **dict.fromkeys(
        ("inputs", "inputs_embeds", "position_ids", "token_type_ids", "decoder_input_ids"),
        _IDS_ALONE,
    ),
    "negative_prompt_ids": "guidance_scale, against the prompt masked out",
    "negative_prompt_attention_mask": "guidance_scale, against the prompt masked out",
    "tokenizer": "stopping_criteria=[StopStringCriteria(tokenizer, strings)]",
    # LLaDA, dllm, Dream, Fast-dLLM, diffusers
    "alg": "order, with select_after_warping=True",
    "alg_temp": "order_temperature, with select_after_warping=True",
    "block_size": "block_length",
    "cfg_scale": "guidance_scale, which is cfg_scale + 1",
    "eps": "plan='linear_time' or 'binomial', whose clock ends at 1e-3 and 0",
    "gen_length": "max_new_tokens",
    "mask_id": "mask_token_id",
    "num_inference_steps": "steps",
    "remasking": "order='drawn_confidence' for 'low_confidence', or order='random'",
    "return_dict": "return_dict_in_generate",
    "stochastic_transfer": "plan='binomial'",
}


def in_place_of(names: Iterable[str]) -> str:
    """A hint for a message on unknown names.

    Args:
        names: of arguments that do not exist here.

    Returns:
        What to say of those that exist elsewhere, "" of others.
    """
    known = [name for name in names if name in REPLACEMENTS]
    return "".join(f" In place of {name}: {REPLACEMENTS[name]}." for name in known)
