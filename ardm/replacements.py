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
_NO_CACHE_SETTINGS = (
    "use_cache",
    "past_key_values",
    "cache_implementation",
    "cache_config",
    "max_cache_len",
    "prefill_chunk_size",
    "return_legacy_cache",
    "dual_cache",  # of Fast-dLLM
)
_BEAM_SETTINGS = (
    "num_beams",
    "num_beam_groups",
    "early_stopping",
    "length_penalty",
    "penalty_alpha",
    "low_memory",
    "diversity_penalty",
    "constraints",
    "force_words_ids",
)
_DRAFT_SETTINGS = (
    "assistant_model",
    "assistant_tokenizer",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "target_lookbehind",
    "is_assistant",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "speculation_type",
    "use_mtp",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
    "dola_layers",
)
_INPUTS = (
    "inputs",
    "inputs_embeds",
    "position_ids",
    "token_type_ids",  # of settings; `generate` takes those of zeros alone
    "decoder_input_ids",
    "decoder_start_token_id",
)
_NO_CACHE = "nothing: all positions see each other, so that there is no cache"
_NO_BEAMS = "nothing: there is no search; num_return_sequences draws several results"
_NO_DRAFTS = "nothing: tokens_per_step, threshold or entropy_bound take several tokens a step"
_FEWER_OUTPUTS = "return_dict_in_generate=True, whose log_probs are those of the tokens"
_IDS_ALONE = "nothing: generate takes input_ids and attention_mask; leave it out"

REPLACEMENTS = {
    **{name: f"logits_processor=[{stock}(...)]" for name, stock in _PROCESSORS.items()},
    **{name: f"stopping_criteria=[{stock}(...)]" for name, stock in _CRITERIA.items()},
    "max_length": "max_new_tokens, the number of masks behind each row's last token",
    **dict.fromkeys(_NO_CACHE_SETTINGS, _NO_CACHE),
    **dict.fromkeys(_BEAM_SETTINGS, _NO_BEAMS),
    **dict.fromkeys(_DRAFT_SETTINGS, _NO_DRAFTS),
    **dict.fromkeys(("output_scores", "output_logits"), _FEWER_OUTPUTS),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), "a call of the model itself"),
    **dict.fromkeys(_INPUTS, _IDS_ALONE),
    **dict.fromkeys(("compile_config", "disable_compile"), "model.compile() before the call"),
    "continuous_batching_config": "nothing: a call's rows are one batch",
    "custom_generate": "nothing: code of the Hub is not run",
    "synced_gpus": "nothing: each process generates rows of its own",
    "token_healing": "nothing: put the mask token in place of the prompt's last token",
    "negative_prompt_ids": "guidance_scale, against the prompt masked out",
    "negative_prompt_attention_mask": "guidance_scale, against the prompt masked out",
    "tokenizer": "stopping_criteria=[StopStringCriteria(tokenizer, strings)]",
    # LLaDA, dllm, Dream, Fast-dLLM, MDLM, SEDD, ReMDM, diffusers
    "alg": "order, with select_after_warping=True",
    "alg_temp": "order_temperature, with select_after_warping=True",
    "batch_size": "num_return_sequences, or a row of input_ids for each result",
    "block_size": "block_length",
    "callback_on_step_end": "streamer, or output_history=True for all steps",
    "canvas_length": "block_length",
    "cfg_keep_tokens": "nothing: guidance_scale hides all of the prompt",
    "cfg_scale": "guidance_scale, which is cfg_scale + 1",
    "confidence_eos_eot_inf": "logits_processor=[...], which is given the logits at every position",
    "confidence_temperature": "order_temperature",
    "confidence_threshold": "threshold, or entropy_bound",
    "corrector_steps": "resample_steps",
    "denoise": "nothing: the last step leaves no mask",
    "editing_threshold": "resample_steps, with resample_order='least_confident'",
    "eos_early_stop": "eos_token_id, behind which a row becomes padding",
    "eps": "plan='linear_time' or 'binomial', whose clock ends at 1e-3 and 0",
    "eta": "resample_fraction, with resample_order='remdm_cap' or 'remdm_rescale'",
    "gamma": "entropy_bound",
    "gen_length": "max_new_tokens",
    "generation_logits_hook_func": "logits_processor=[...]",
    "generation_tokens_hook_func": "streamer, or output_history=True for all steps",
    "logits_eos_inf": "logits_processor=[SuppressTokensLogitsProcessor([eos_token_id])]",
    "mask_id": "mask_token_id",
    "mask_index": "mask_token_id",
    "max_denoising_steps": "steps",
    "max_post_steps": "resample_steps",
    "noise_removal": "nothing: the last step leaves no mask",
    "nucleus_p": "top_p",
    "num_images_per_prompt": "num_return_sequences",
    "num_inference_steps": "steps",
    "num_sample_batches": "num_return_sequences",
    "num_samples": "num_return_sequences",
    "num_steps": "steps",
    "num_to_transfer": "tokens_per_step",
    "output_type": "tokenizer.batch_decode of what is returned",
    "predictor": "plan='linear_time' or 'binomial'",
    "prompt": "input_ids: tokenizer(prompt, return_tensors='pt')",
    "remasking": "order='drawn_confidence' for 'low_confidence', or order='random'",
    "return_dict": "return_dict_in_generate",
    "right_shift_logits": "adopt(model, right_shift_logits=True)",
    "sampling_method": "do_sample=False for 'greedy', or temperature, top_k and top_p",
    "sampling_steps": "steps",
    "stability_threshold": "nothing: a drawn token stays, but for resample_steps",
    "steps_per_block": "steps, which are shared out over the blocks of block_length",
    "stochastic_transfer": "plan='binomial'",
    "t_off": "resample_order, whose passes lie between all steps",
    "t_on": "resample_order, whose passes lie between all steps",
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
