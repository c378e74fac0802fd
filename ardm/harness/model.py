"""A model under EleutherAI's lm-evaluation-harness: what answers its three kinds of requests.

    loglikelihood(context, text)    -NELBO(text | context) <= log p(text | context),
                                    a lower bound, estimated;
                                    with `order` exactly log p(text | context, order)
    loglikelihood_rolling(text)     the sum of these over the windows of a text of any length
    generate_until(context, ...)    `generate` behind the context, cut at the first stop string

Importing this module registers the model "ardm". An answer is a function of the seed and of its
request (its context and its text; where it is sampled, of the document as well): neighbours,
batches, the order, number and numbering of documents (`--limit`, `--samples`), the number of
processes and `--use_cache` do not matter. The answers to one question share their random numbers,
so that much of the noise cancels when they are compared. Nothing is put before a text: no BOS
token, and an empty context is none. Around those of adopted models are their special tokens.

A text of which the tokens do not tell all (unknown, dropped or changed characters) has no
likelihood here: a rolling request, whose figure becomes bits per byte, is refused; of other
requests the number of such characters is told, and an answer without any token is refused.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ..data.lost_text import lost_text
from ..generation_config_ardm import ORDER_NAMES
from ..likelihood import nelbo
from ..path_likelihood import LIKELIHOOD_ORDERS, log_prob
from ..training import key_seed, progress_bar
from .encoding import canvases, frame_and_length, ids_of
from .options import SWITCH, choose_device, load, one_of, whole_number
from .requests import (
    GREEDY,
    Prompt,
    batches,
    cut,
    encode_pair,
    fingerprint_of,
    fit_context,
    generation_settings,
    lost_behind,
    refuse_lost,
    stop_strings,
    text_windows,
    warn_of_lost,
)

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import normalize_gen_kwargs

    from .surroundings import Surroundings
except ImportError as error:
    raise ImportError(
        "ardm.harness needs lm-evaluation-harness; install it with: pip install lm-eval"
    ) from error

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedTokenizerBase

    from ..modeling_ardm import ARDMForMaskedLM

MAX_GEN_TOKS = 256  # the harness' own number where a task names none
Item = TypeVar("Item")


@register_model("ardm")
class ARDMHarness(Surroundings):
    """The harness' view of a model. Every option can be given in `--model_args`, as text or number.

    Args:
        pretrained: a folder, a name on the Hub, or a model in memory (also an adopted one).
        tokenizer: with a model in memory, its tokenizer.
        num_samples: sequences through the network for one bound, or "all": one with every number of
            masks. A text of one token takes one, which is exact.
        order: None = the bound, which is the average over all orders of the exact log-likelihood in
            an order; "left_to_right" or "right_to_left" = that of this order, at one sequence
            through the network a token; "confidence", "margin" or "entropy" = that of an order that
            looks at the logits, at one call a token.
        batch_size: prompts that are generated side by side. Likelihoods are scored one request at a
            time, as the samples of one already fill a call of the network.
        seed: of all random numbers.
        device: None = what Accelerate finds; a GPU where there is none, as the harness' command
            line names one unasked, = the CPU. Several processes are placed by Accelerate.
        tokens_per_step: tokens that `generate_until` writes in one pass of the network.
        generation_order: of `generate_until`; None = "confidence" for greedy decoding and "random"
            for sampling, which then is from the model itself.
        greedy: "on" = a likelihood request also says whether greedy decoding (one token at a time,
            the surest first) would write this very text: a pass of the network a token. Tasks like
            LAMBADA have their accuracy from it, which "off", no to all, would silently make 0;
            multiple choice does not need it.
        **unknown: what is no option.

    Raises:
        ValueError: on an unknown or bad option, before the model is loaded; if there is no model.
    """

    def __init__(
        self,
        pretrained: "str | os.PathLike[str] | ARDMForMaskedLM | None" = None,
        *,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        num_samples: int | str = 128,
        order: str | None = None,
        batch_size: int | str = 1,
        seed: int | str = 0,
        device: str | torch.device | None = None,
        tokens_per_step: int | str = 1,
        generation_order: str | None = None,
        greedy: str | bool = "on",
        **unknown: Any,
    ):
        super().__init__()
        if unknown:
            known = sorted({"pretrained", *(ARDMHarness.__init__.__kwdefaults__ or {})})
            raise ValueError(f"unknown options {sorted(unknown)}; expected some of {known}.")
        self.num_samples: Any = num_samples
        if num_samples != "all":
            self.num_samples = whole_number("num_samples", num_samples, 1, " or 'all'")
        self.order = one_of("order", order, (None, *LIKELIHOOD_ORDERS))
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.seed = whole_number("seed", seed, 0)
        self.tokens_per_step = whole_number("tokens_per_step", tokens_per_step, 1)
        self.generation_order = one_of("generation_order", generation_order, (None, *ORDER_NAMES))
        self.greedy = SWITCH[one_of("greedy", greedy, tuple(SWITCH))]
        self._device, state = choose_device(device)
        self._rank = state.process_index
        self._world_size = state.num_processes
        self.model, self.tokenizer = load(pretrained, tokenizer)
        self.model.to(self._device)  # type: ignore[arg-type]  # its wrapper hides the signature
        self.model.eval()
        self.frame, self.longest = frame_and_length(self.model, self.tokenizer)

    # ------------------------------------------------------------------------------- requests
    def loglikelihood(
        self, requests: "Sequence[Instance]", disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Scores continuations; a context that does not fit loses its beginning.

        Args:
            requests: the harness' instances, whose arguments are (context, continuation).
            disable_tqdm: without a progress bar.

        Returns:
            For each the log-likelihood in nats (without `order` a lower bound of it) and whether
            greedy decoding writes the continuation. An empty continuation is certain: 0.0.

        Raises:
            ValueError: on a continuation longer than the model takes or of which the tokenizer
                drops all, or a text that holds the mask token.
        """
        # all are encoded first: what is wrong shows before the long work
        pairs = [(one, encode_pair(self._encode, self.longest, *one.args)) for one in requests]
        warn_of_lost(lost_behind(self.tokenizer, [one.args for one in requests]))
        answers = []
        for request, pair in self._progress(pairs, disable_tqdm):
            value = self._log_likelihood(*pair, request.args[0])
            answers.append((value, self.greedy and self._is_greedy(*pair)))
            self.cache_hook.add_partial("loglikelihood", request.args, answers[-1])
        return answers

    def loglikelihood_rolling(
        self, requests: "Sequence[Instance]", disable_tqdm: bool = False
    ) -> list[float]:
        """Scores whole texts, every token once, in consecutive windows of the model's full length.

        The last window, if shorter, is given the text before it as far as that fits, as by the
        harness' own rule. The others see nothing of the text around them, so that the figure is
        comparable to that of training.

        Args:
            requests: the harness' instances, whose argument is (text,).
            disable_tqdm: without a progress bar.

        Returns:
            For each the log-likelihood in nats (without `order` a lower bound of it); 0.0 for an
            empty text.

        Raises:
            ValueError: on a text that holds the mask token, or what its tokens do not tell.
        """
        ids = [self._encode(one.args[0]) for one in requests]
        texts_of = (one.args[0] for one in requests)
        refuse_lost(lost_text(self.tokenizer, texts_of, special_tokens=True))
        texts = [
            (one, text_windows(each, self.longest)) for one, each in zip(requests, ids, strict=True)
        ]
        answers = []
        for request, parts in self._progress(texts, disable_tqdm):
            values = [
                self._log_likelihood(*pair, request.args[0], number)
                for number, pair in enumerate(parts)
            ]
            answers.append(sum(values, 0.0))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answers[-1])
        return answers

    def generate_until(
        self, requests: "Sequence[Instance]", disable_tqdm: bool = False
    ) -> list[str]:
        """Generates behind contexts; a context that does not fit loses its beginning.

        All of `max_gen_toks` is generated before the text is cut, as no place in it is the last one
        written.

        Args:
            requests: the harness' instances, whose arguments are (context, settings): `until`,
                `max_gen_toks`, `do_sample`, `temperature`, `seed`, and any other argument of
                `generate`.
            disable_tqdm: without a progress bar.

        Returns:
            For each the text up to the first stop string or EOS token.

        Raises:
            ValueError: on settings that `generate` does not take, or that leave no room for the
                context.
        """
        # an instance comes again where several samples of it are wanted
        prompts = []
        repeats = Counter[int]()
        for place, request in enumerate(requests):
            prompts.append(self._prompt(place, request, repeats[id(request)]))
            repeats[id(request)] += 1
        groups = batches(prompts, self.batch_size)
        answers = [""] * len(requests)
        for group in self._progress(groups, disable_tqdm):
            for prompt, text in zip(group, self._generate(group), strict=True):
                answers[prompt.place] = text
                self.cache_hook.add_partial("generate_until", requests[prompt.place].args, text)
        return answers

    # -------------------------------------------------------------------------------- answers
    def _log_likelihood(self, known: list[int], scored: list[int], *key: Any) -> float:
        """log p(scored | known) in nats or its bound; the key names the random numbers."""
        if not scored:
            return 0.0
        ids_BL, begin = self._framed(known, scored)
        prompt_BL = torch.arange(ids_BL.shape[1], device=self._device)[None] < begin
        if self.order is not None:
            return log_prob(self.model, ids_BL, self.order, prompt_mask=prompt_BL).item()
        # of one token all samples would be the same
        num_samples: Any = "all" if len(scored) == 1 else self.num_samples
        generator = torch.Generator().manual_seed(key_seed(self.seed, *key) % 2**63)
        bound = nelbo(
            self.model, ids_BL, num_samples=num_samples, prompt_mask=prompt_BL, generator=generator
        )
        return -bound.nats.item()

    def _is_greedy(self, known: list[int], scored: list[int]) -> bool:
        if not scored:
            return True
        canvas, begin = self._framed(known, [self.model.config.mask_token_id] * len(scored))
        written = self.model.generate(canvas, seed=self.seed, **GREEDY)
        return written[0, begin : begin + len(scored)].tolist() == scored

    def _framed(self, known: list[int], behind: list[int]) -> tuple[Tensor, int]:
        """One row of ids in its frame, and where what lies behind the known ones begins."""
        before, after = self.frame
        row = [*before, *known, *behind, *after]
        return torch.tensor([row], dtype=torch.long, device=self._device), len(before) + len(known)

    def _prompt(self, place: int, request: "Instance", repeat: int) -> Prompt:
        context, gen_kwargs = request.args
        room = min(MAX_GEN_TOKS, self.longest // 2)
        asked: dict[str, Any] = dict(normalize_gen_kwargs(gen_kwargs, room))
        until = stop_strings(asked.pop("until"))
        length = asked.pop("max_gen_toks")
        key = (context, fingerprint_of(request.doc), repeat)
        seed = key_seed(asked.pop("seed", self.seed), *key) % 2**63
        settings = generation_settings(asked, self.generation_order, self.tokens_per_step)
        settings["max_new_tokens"] = length
        ids = fit_context(self._encode(context), length, self.longest)
        return Prompt(place, ids, until, settings, seed)

    def _generate(self, prompts: list[Prompt]) -> Iterator[str]:
        """The texts of prompts with the same settings."""
        settings = {**prompts[0].settings, "seed": [prompt.seed for prompt in prompts]}
        rows = canvases(prompts, self.frame, self.model.config.mask_token_id)
        length = settings.pop("max_new_tokens")
        sequences = self.model.generate(*(each.to(self._device) for each in rows), **settings)
        assert isinstance(sequences, Tensor)
        # these are no text; an unknown character is some
        ending = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        for prompt, row in zip(prompts, sequences.tolist(), strict=True):
            begin = len(self.frame.before) + len(prompt.ids)
            written = row[begin : begin + length]
            text = self.tokenizer.decode([token for token in written if token not in ending])
            yield cut(str(text), prompt.until)

    def _encode(self, text: str) -> list[int]:
        return ids_of(self.tokenizer, self.model.config.mask_token_id, text)

    def _progress(self, items: Sequence[Item], disable: bool) -> Iterable[Item]:
        shown = False if disable or self._rank != 0 else None
        return progress_bar(items, what="ardm", unit="request", shown=shown)
