"""The evaluation harness' requests: figures by enumeration, and answers that depend on nothing but their request."""

import importlib
import json
import math
import random
import sys

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

import ardm
from ardm import log_prob, nelbo
from ardm.data.tokenization import build_tokenizer
from ardm.harness.model import GREEDY, LIKELIHOOD_ORDERS, ARDMHarness
from ardm.harness.requests import Prompt, batches, cut, encode_pair, windows

LONGEST = 8


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer("char", "abc ")  # space a b c [UNK] [MASK] [PAD]


@pytest.fixture
def harness(tiny_model, tokenizer):
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=LONGEST, **ids)
    return lambda **options: ARDMHarness(model, tokenizer=tokenizer, **options)


def requests(kind, *arguments, first=0):
    return [Instance(kind, {}, args, 0, ("task", first + i, 1)) for i, args in enumerate(arguments)]


def scores(harness, *pairs):
    return [
        value
        for value, _ in harness.loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
    ]


def generate(harness, context, **settings):
    (text,) = harness.generate_until(
        requests("generate_until", (context, settings)), disable_tqdm=True
    )
    return text


def exact(enumeration, harness, context, continuation):
    """log p(continuation | context) in each order of the continuation's tokens, (orders,)."""
    ids = torch.tensor(harness._encode(context + continuation))
    table = enumeration(harness.model, len(ids))
    start = ids.clone()
    start[len(context) :] = table.mask
    return torch.stack(
        [table.log_prob(order, start=start, sequences=ids[None])[0] for order in table.orders]
    )


# ------------------------------------------------------------------------------------------------- likelihood
@pytest.mark.parametrize(("context", "continuation"), [("ab", "ca"), ("a", "cba"), ("", "cab")])
def test_the_score_is_the_conditional_bound(harness, enumeration, context, continuation):
    h = harness(num_samples=4096, greedy="off")
    (value,) = scores(h, (context, continuation))
    in_each_order = exact(enumeration, h, context, continuation)
    ids = torch.tensor([h._encode(context + continuation)])
    prompt = torch.arange(ids.shape[1])[None] < len(context)
    error = nelbo(h.model, ids, num_samples=4096, prompt_mask=prompt).standard_error.item()
    assert 0 < error < 0.05
    assert abs(value - in_each_order.mean()) < 4 * error
    assert value < in_each_order.logsumexp(0) - math.log(len(in_each_order)) + 4 * error


@pytest.mark.parametrize("order", LIKELIHOOD_ORDERS)
def test_an_order_gives_the_exact_score(harness, enumeration, order):
    h = harness(order=order, greedy="off")
    for context, continuation in (("ab", "ca"), ("", "bac")):
        in_each_order = exact(enumeration, h, context, continuation)
        (value,) = scores(h, (context, continuation))
        assert (in_each_order - value).abs().min() < 1e-5
        ids = torch.tensor([h._encode(context + continuation)])
        places = {
            "left_to_right": torch.arange(ids.shape[1]),
            "right_to_left": torch.arange(ids.shape[1]).flip(0),
        }
        given = torch.arange(ids.shape[1])[None] < len(context)
        expected = log_prob(h.model, ids, places.get(order, order), prompt_mask=given)
        assert value == pytest.approx(expected.item(), abs=1e-6)


def test_one_token_is_exact_and_nothing_is_certain(harness, enumeration):
    h = harness(num_samples=1)
    one, nothing = scores(h, ("ab", "c"), ("ab ", ""))
    assert one == pytest.approx(exact(enumeration, h, "ab", "c")[0].item(), abs=1e-6)
    assert nothing == 0
    assert h.loglikelihood(requests("loglikelihood", ("ab", "")), disable_tqdm=True) == [
        (0.0, True)
    ]


def test_likelihoods_depend_on_their_request_alone(harness):
    pairs = [("ab", "ca"), ("", "cab"), ("abca", "ab"), ("ab", "c"), ("b" * 20, "aa"), ("ab", "ca")]
    asked = requests("loglikelihood", *pairs)
    together = harness(num_samples=4).loglikelihood(asked, disable_tqdm=True)
    mixed = random.Random(1).sample(range(len(asked)), len(asked))
    again = harness(num_samples=4, batch_size=3).loglikelihood(
        [asked[i] for i in mixed], disable_tqdm=True
    )
    assert again == [together[i] for i in mixed]
    assert [
        harness(num_samples=4).loglikelihood([one], disable_tqdm=True)[0] for one in asked
    ] == together
    assert together[0] != together[-1]  # another document has other random numbers
    assert harness(num_samples=4, seed=1).loglikelihood(asked, disable_tqdm=True) != together


@pytest.fixture
def bounds(monkeypatch):
    """(seed, options) of the calls of `nelbo`."""
    calls = []

    def counted(*args, generator, **options):
        calls.append((generator.initial_seed(), options))
        return nelbo(*args, generator=generator, **options)

    monkeypatch.setattr("ardm.harness.model.nelbo", counted)
    return calls


def test_answers_to_one_question_share_their_random_numbers(harness, bounds):
    h = harness(num_samples=2, greedy="off")
    for document, option in ((0, "ca"), (0, "cb"), (1, "ca"), (1, "cb")):
        h.loglikelihood(
            requests("loglikelihood", ("ab", option), first=document), disable_tqdm=True
        )
    seeds = [seed for seed, _ in bounds]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_the_samples_of_one_token_are_not_repeated(harness, bounds):
    scores(harness(num_samples=5, greedy="off"), ("ab", "c"), ("ab", "ca"))
    assert [options["num_samples"] for _, options in bounds] == ["all", 5]


def test_a_long_context_loses_its_beginning(harness):
    h = harness(order="left_to_right")
    long, fitting = scores(h, ("cab" * 10 + "abcabc", "ab"), ("abcabc", "ab"))
    assert long == fitting
    with pytest.raises(ValueError, match="9 tokens; expected at most max_position_embeddings=8"):
        scores(h, ("", "abc"), ("a", "abcabcabc"))


def test_spaces_before_a_continuation_belong_to_it(harness):
    h = harness(order="left_to_right")
    first, second = scores(h, ("ab ", "ca"), ("ab", " ca"))
    assert first == second


def test_a_token_across_the_seam_is_scored_apart():
    def encode(text):  # "ab" is one token
        return [26 if piece == "ab" else ord(piece) - 97 for piece in text.replace("ab", "|ab|").split("|") for piece in
                ([piece] if piece == "ab" else piece)]  # fmt: skip

    assert encode("cab") == [2, 26]
    assert encode_pair(encode, 8, "ca", "b") == ([2, 0], [1])
    assert encode_pair(encode, 8, "c", "ab") == ([2], [26])


def test_greedy_says_whether_decoding_writes_the_text(harness):
    h = harness(num_samples=1)
    ids = torch.tensor([h._encode("ab")])
    written = h.tokenizer.decode(h.model.generate(ids, max_new_tokens=3, **GREEDY)[0, 2:])
    others = [text for text in ("aaa", "bca", "ccc") if text != written]
    asked = requests("loglikelihood", ("ab", written), *[("ab", text) for text in others])
    assert [greedy for _, greedy in h.loglikelihood(asked, disable_tqdm=True)] == [True] + [
        False
    ] * len(others)
    assert not any(
        greedy for _, greedy in harness(greedy="off").loglikelihood(asked, disable_tqdm=True)
    )


# ---------------------------------------------------------------------------------------------------- rolling
@pytest.mark.parametrize("length", [0, 1, 3, 7, 8, 9, 16, 19, 24])
def test_windows_score_every_token_once(length):
    ids = list(range(length))
    parts = windows(ids, 8)
    assert [token for _, scored in parts for token in scored] == ids
    for known, scored in parts:
        assert len(scored) > 0 and len(known) + len(scored) <= 8
        assert known == ids[scored[0] - len(known) : scored[0]]
    if length >= 8:
        assert all(len(known) + len(scored) == 8 for known, scored in parts)


def test_rolling_is_the_bound_of_a_short_text(harness):
    h = harness(num_samples=4096)
    (value,) = h.loglikelihood_rolling(
        requests("loglikelihood_rolling", ("abcab",)), disable_tqdm=True
    )
    bound = nelbo(h.model, torch.tensor([h._encode("abcab")]), num_samples=4096)
    assert abs(value + bound.nats.item()) < 6 * bound.standard_error.item()


def test_rolling_adds_up_the_windows_of_a_long_text(harness):
    h = harness(order="left_to_right")
    text = "abcabbca cabacbba ac"  # 8 + 8 + 4, the last behind 4 others
    long, none = h.loglikelihood_rolling(
        requests("loglikelihood_rolling", (text,), ("",)), disable_tqdm=True
    )
    assert none == 0
    parts = (text[:8], 0), (text[8:16], 0), (text[12:], 4)
    expected = 0.0
    for part, given in parts:
        ids = torch.tensor([h._encode(part)])
        expected += log_prob(
            h.model, ids, torch.arange(8), prompt_mask=torch.arange(8)[None] < given
        ).item()
    assert long == pytest.approx(expected, abs=1e-6)


def test_windows_have_random_numbers_of_their_own(harness, bounds):
    harness(num_samples=2).loglikelihood_rolling(
        requests("loglikelihood_rolling", ("abcabcab" * 2,))
    )
    assert len({seed for seed, _ in bounds}) == len(bounds) == 2


# ------------------------------------------------------------------------------------------------- generation
def test_generation_is_what_the_model_generates(harness):
    h = harness()
    expected = h.model.generate(
        torch.tensor([h._encode("ab")]), max_new_tokens=4, order="confidence", do_sample=False
    )
    assert generate(h, "ab", until=[], max_gen_toks=4) == h.tokenizer.decode(expected[0, 2:])
    assert generate(h, "ab", max_gen_toks=4, temperature=0.0) == generate(h, "ab", max_gen_toks=4)
    ids = h._encode(generate(h, "", max_gen_toks=8))
    assert (
        len(ids) == 8 and h.tokenizer.unk_token_id in ids
    )  # an unknown character is no empty text


def test_generation_depends_on_its_request_alone(harness):
    sampled = {"until": [], "max_gen_toks": 4, "do_sample": True, "temperature": 0.9}
    greedy = {"until": [], "max_gen_toks": 5}
    contexts = ["ab", "", "abca", "b" * 20, "c"]
    asked = requests(
        "generate_until", *[(c, sampled) for c in contexts], *[(c, greedy) for c in contexts]
    )
    together = harness(batch_size=4).generate_until(asked, disable_tqdm=True)
    mixed = random.Random(1).sample(range(len(asked)), len(asked))
    again = harness().generate_until([asked[i] for i in mixed], disable_tqdm=True)
    assert again == [together[i] for i in mixed]
    assert [len(harness()._encode(text)) for text in together] == [4] * 5 + [5] * 5
    other = harness(batch_size=4, seed=1).generate_until(asked, disable_tqdm=True)
    assert other[:5] != together[:5] and other[5:] == together[5:]
    assert generate(harness(), "ab", **sampled, seed=1) == generate(
        harness(seed=1), "ab", **sampled
    )


def test_batches_are_of_one_kind_and_of_like_lengths():
    prompts = [
        Prompt(i, [0] * length, [], {"top_k": length % 2}, 0)
        for i, length in enumerate((3, 8, 1, 7, 5, 2))
    ]
    found = [[len(prompt.ids) for prompt in batch] for batch in batches(prompts, 2)]
    assert found == [[8, 2], [7, 5], [3, 1]]


def test_repeats_and_documents_are_different_samples(harness):
    settings = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0}
    (one,) = requests("generate_until", ("", settings))
    assert len(set(harness(batch_size=2).generate_until([one] * 6, disable_tqdm=True))) > 3
    assert (
        len(
            set(
                harness().generate_until(
                    requests("generate_until", *[("", settings)] * 6), disable_tqdm=True
                )
            )
        )
        > 3
    )


def test_generation_stops_at_the_first_stop_string(harness):
    text = generate(harness(), "ab", max_gen_toks=6)
    assert (
        generate(harness(), "ab", max_gen_toks=6, until=text[2:4]) == text[: text.index(text[2:4])]
    )
    assert generate(harness(), "ab", max_gen_toks=6, until=["", "zzz"]) == text
    for seed in range(5):  # nor is what lies behind an end any text
        assert "[PAD]" not in generate(
            harness(), "", max_gen_toks=8, do_sample=True, seed=seed, eos_token_id=1
        )
    assert (
        cut("one two three", ["three", "t"]) == "one "
        and cut("one", ["", "x"]) == "one"
        and cut("", ["a"]) == ""
    )


def test_settings_reach_generate(harness, monkeypatch):
    h, seen = harness(tokens_per_step=2, generation_order="left_to_right"), []
    original = h.model.generate
    monkeypatch.setattr(
        h.model,
        "generate",
        lambda *args, **settings: (seen.append(settings), original(*args, **settings))[1],
    )
    generate(h, "ab")
    generate(h, "ab", max_gen_toks=2, do_sample=True, temperature=0.5, top_k=2, steps=1)
    generate(h, "ab", order="entropy")
    assert (
        seen[0].items()
        >= {"max_new_tokens": 4, "tokens_per_step": 2, "order": "left_to_right"}.items()
    )
    assert seen[0]["do_sample"] is False
    assert (
        seen[1].items() >= {"max_new_tokens": 2, "temperature": 0.5, "top_k": 2, "steps": 1}.items()
    )
    assert "tokens_per_step" not in seen[1] and seen[2]["order"] == "entropy"


@pytest.mark.parametrize(
    ("context", "settings", "named"),
    [
        ("ab", {"max_gen_toks": 8}, r"expected 1\.\.7"),
        ("", {"max_gen_toks": 9}, r"expected 1\.\.8"),
        ("ab", {"max_gen_toks": 0}, "max_gen_toks is 0"),
        ("ab", {"num_beams": 4}, "num_beams"),
        ("a[MASK]", {}, "mask token"),
    ],
)
def test_what_cannot_be_generated_is_said(harness, context, settings, named):
    with pytest.raises(ValueError, match=named):
        generate(harness(), context, **settings)


def test_a_cut_context_still_generates(harness):
    assert generate(harness(), "cab" * 10 + "ab", max_gen_toks=6) == generate(
        harness(), "ab", max_gen_toks=6
    )


# ---------------------------------------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_samples", 0), ("num_samples", "some"), ("num_samples", 1.5), ("num_samples", True), ("order", "random"),
        ("order", "sideways"), ("batch_size", "auto"), ("batch_size", 0), ("seed", -1), ("seed", "x"),
        ("device", "nowhere"), ("tokens_per_step", 0), ("generation_order", "upwards"), ("greedy", "perhaps"),
        ("pretrained", None), ("pretrained", 3), ("tokenizer", "a name"), ("max_batch_size", 4),
    ],
)  # fmt: skip
def test_a_bad_option_is_an_error_that_names_it(tmp_path, monkeypatch, option, value):
    monkeypatch.setattr(
        "ardm.harness.options.load_folder", lambda name: pytest.fail("the model was loaded")
    )
    with pytest.raises(ValueError, match=option):
        ARDMHarness(**{"pretrained": str(tmp_path), option: value})


def test_a_model_without_tokenizer_or_folder_is_refused(harness, tmp_path):
    with pytest.raises(ValueError, match="tokenizer NoneType"):
        ARDMHarness(harness().model)
    with pytest.raises(ValueError, match="no model can be loaded"):
        ARDMHarness(str(tmp_path / "nowhere"))


def test_options_arrive_as_text(harness, tmp_path):
    h = harness()
    h.model.save_pretrained(tmp_path), h.tokenizer.save_pretrained(tmp_path)
    text = f"pretrained={tmp_path},num_samples=all,order=None,greedy=off,seed=3,tokens_per_step=2"
    loaded = get_model("ardm").create_from_arg_string(text, {"batch_size": "2", "device": "cuda:0"})
    assert type(loaded) is ARDMHarness and isinstance(loaded.model, ardm.ARDMForMaskedLM)
    assert (loaded.num_samples, loaded.order, loaded.batch_size, loaded.greedy, loaded.seed) == (
        "all",
        None,
        2,
        False,
        3,
    )
    asked = requests("loglikelihood", ("ab", "ca"))
    assert loaded.loglikelihood(asked) == harness(
        num_samples="all", greedy=False, seed=3
    ).loglikelihood(asked)


def test_a_missing_harness_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(ImportError, match=r"pip install 'ardm\[lm-eval\]'"):
        importlib.reload(importlib.import_module("ardm.harness.model"))


# ------------------------------------------------------------------------------------------------ the harness
TASKS = {
    "choice": {"output_type": "multiple_choice", "doc_to_text": "context", "doc_to_choice": "options",
               "doc_to_target": "answer", "target_delimiter": "",
               "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]},
    "bits": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "context",
             "metric_list": [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}]},
    "write": {"output_type": "generate_until", "doc_to_text": "context", "doc_to_target": "{{options[answer]}}",
              "target_delimiter": "", "generation_kwargs": {"until": [" "], "max_gen_toks": 3},
              "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]},
}  # fmt: skip


def test_the_harness_evaluates_all_kinds_of_tasks(harness, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    h = harness(order="left_to_right", batch_size=2)
    contexts, options = ["ab", "cab", "abcabcabcab"], ["ca", "bb", "ac"]
    best = [scores(h, *[(context, option) for option in options]) for context in contexts]
    answers = [values.index(max(values)) for values in best]
    answers[2] = (answers[2] + 1) % 3  # one is wrong
    rows = [
        {"context": c, "options": options, "answer": a}
        for c, a in zip(contexts, answers, strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
    }
    for name, task in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(
            json.dumps({"task": name, "test_split": "test", **data, **task})
        )
    tasks = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = simple_evaluate(
        h, tasks=[*TASKS], task_manager=tasks, bootstrap_iters=0, log_samples=True
    )
    results = found["results"]
    assert results["choice"]["acc,none"] == pytest.approx(2 / 3)
    rolled = h.loglikelihood_rolling(requests("loglikelihood_rolling", *[(c,) for c in contexts]))
    assert results["bits"]["bits_per_byte,none"] == pytest.approx(
        -sum(rolled) / math.log(2) / len("".join(contexts))
    )
    for sample in found["samples"]["write"]:
        assert sample["resps"] == [
            [generate(h, sample["doc"]["context"], until=[" "], max_gen_toks=3)]
        ]
