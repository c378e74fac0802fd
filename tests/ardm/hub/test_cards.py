"""The model card says what it is told, in Markdown and YAML that the Hub reads back."""

import math
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard

from ardm.data import LostText
from ardm.data.tokenization import build_tokenizer
from ardm.evaluation import HeldOutWindows
from ardm.hub import save_folder
from ardm.hub.cards import CardFigures, Evaluation, model_card

EVALUATION = Evaluation(
    dataset="wiki27",
    num_windows=2000,
    bits_per_token=(3.5, 0.01),
    bits_per_character=(2.958, 0.008),
)
FULL = CardFigures(
    model_name="me/model",
    num_parameters=1_800_000,
    sequence_length=128,
    training_data="The first part of wiki27.",
    hyperparameters={"learning_rate": 0.002, "a|b": "c\nd"},
    command="accelerate launch recipes/train_ardm.py",
    seed=0,
    machine="2 CPU cores",
    date="2022-04-25",
    wall_clock_seconds=119.7,
    evaluation=EVALUATION,
    loss_curve="loss_curve.png",
    pictures=["order.png"],
    samples=["a sample", "code: ```\n# no heading\n````"],
    infilled=["known [filled] known"],
    limitations="Trained for minutes.",
    datasets=["me/wiki27"],
    language="en",
)


TOLD = [
    "# me/model",
    "1,800,000",
    "128",
    "The first part of wiki27.",
    "accelerate launch recipes/train_ardm.py",
    "Seed: 0",
    "2 CPU cores",
    "2022-04-25",
    "2 min 0 s",
    "| learning_rate | 0.002 |",
    r"| a\|b | c d |",
    "](loss_curve.png)",
    "](order.png)",
    "Trained for minutes.",
    "2,000 validation windows of wiki27",
    "Upper bound (NELBO)",
    "| bits per token | 3.5000 ± 0.0100 |",
    "| bits per character | 2.9580 ± 0.0080 |",
    "a sample",
    "known [filled] known",
    'load_folder("me/model")',
    'from_pretrained("me/model", trust_remote_code=True)',
    "arxiv.org/abs/2110.02037",
    "hoogeboom2022autoregressive",
    "- torch: ",
    "- transformers: ",
]
UNKNOWN = ["None", "Seed", "Wall-clock", "## Training", "## Evaluation", "## Samples"]
UNKNOWN += ["## Infilling", "## Limitations", "![", "±"]


def test_front_matter_is_read_back():
    data = ModelCard(model_card(FULL)).data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "fill-mask"
    assert data.license == "apache-2.0"
    assert data.datasets == ["me/wiki27"]
    assert {"ardm", "masked-diffusion", "text-diffusion", "custom_code"} <= set(data.tags)
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("bits_per_character", 2.958)
    assert result.dataset_name == "wiki27"


@pytest.mark.parametrize("told", TOLD)
def test_card_says_all_it_was_told(told):
    assert told in model_card(FULL)


def test_card_that_knows_nothing_invents_nothing():
    card = model_card(CardFigures())
    assert ModelCard(card).data.eval_results is None
    assert [text for text in UNKNOWN if text in card] == []


def test_a_card_does_not_tell_where_the_data_lies(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    told = Evaluation(dataset=str(folder), num_windows=2, bits_per_token=(3.5, 0.01))
    figures = CardFigures(model_name="me/model", training_data=str(folder), evaluation=told)
    card = model_card(figures)
    assert str(tmp_path) not in card
    assert ModelCard(card).data.eval_results[0].dataset_name == "texts"
    assert "2 validation windows of texts" in card


def test_an_evaluation_takes_the_figures_of_held_out_windows():
    nats = torch.tensor([3.0, 5.0, 4.0], dtype=torch.float64) * math.log(2)
    windows = [{"input_ids": [0, 1], "num_characters": 4}] * 3
    told = Evaluation.of("wiki27", 3, HeldOutWindows(windows).figures(nats))
    assert told.bits_per_token == pytest.approx((2, math.sqrt(1 / 3) / 2))
    assert told.bits_per_character == pytest.approx((1, math.sqrt(1 / 3) / 4))
    assert (told.dataset, told.num_windows) == ("wiki27", 3)


def test_an_evaluation_may_know_no_characters():
    windows = HeldOutWindows([{"input_ids": [0, 1]}])
    told = Evaluation.of("wiki27", 1, windows.figures(torch.ones(1, dtype=torch.float64)))
    assert told.bits_per_character is None


def test_without_a_name_there_is_no_model_index():
    assert ModelCard(model_card(CardFigures(evaluation=EVALUATION))).data.eval_results is None


def test_without_characters_the_index_holds_bits_per_token():
    evaluation = Evaluation(dataset="wiki27", num_windows=2, bits_per_token=(3.5, 0.01))
    card = model_card(CardFigures(model_name="me/model", evaluation=evaluation))
    assert ModelCard(card).data.eval_results[0].metric_type == "bits_per_token"
    assert "bits per character" not in card


@pytest.mark.parametrize("text", ["plain", "``` inside", "````\n```\n", "`````", ""])
def test_a_sample_cannot_leave_its_fence(text):
    card = model_card(CardFigures(samples=[text]))
    block = card.split("## Samples\n\n")[1].split("\n\n## Versions")[0]
    opening, *inside, closing = block.split("\n")
    fence = opening.removesuffix("text")
    assert set(fence) == {"`"} and closing == fence
    assert "\n".join(inside) == text
    assert not any(line.strip().startswith(fence) for line in inside)


def test_a_bound_on_a_text_that_the_tokens_do_not_tell_says_so():
    lost = LostText(100, num_unknown=7)
    figures = {"bits per token": (3.0, 0.1)}
    card = model_card(
        CardFigures(model_name="m", evaluation=Evaluation.of("data", 3, figures, lost.refusal))
    )
    assert "on the tokens alone" in card and "of 100 characters 7 (7 %) are unknown" in card
    assert "| bits per character" not in card
    [result] = ModelCard(card).data.eval_results
    assert result.metric_type == "bits_per_token"
    assert "tokens alone" not in model_card(FULL)


def test_an_unknown_error_is_not_explained():
    unknown = Evaluation(dataset="x", num_windows=1, bits_per_token=(3.5, math.nan))
    assert "± is one standard error" in model_card(FULL)
    card = model_card(replace(FULL, evaluation=unknown))
    assert "of a single sample" in card and "standard error" not in card


def test_what_the_card_says_to_do_works_with_and_without_the_package(tiny_model, tmp_path):
    tokenizer = build_tokenizer("char", "The first part, and the end.")
    ids = {"mask_token_id": tokenizer.mask_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=64, **ids)
    save_folder(tmp_path, model, tokenizer, CardFigures(model_name=str(tmp_path)))
    card = (tmp_path / "README.md").read_text()
    with_package, without, use = (block.split("```")[0] for block in card.split("```python\n")[1:])
    assert "import load_folder" in with_package and "ardm" not in without
    assert without.count("trust_remote_code=True") == 2
    texts = []
    for load in (with_package, without):
        found = {}
        torch.manual_seed(0)
        exec(load + use, found)
        texts.append(found["ids"])
        assert found["inputs"].input_ids.shape == (1, 49)
    assert torch.equal(*texts)


def test_the_index_has_errors_in_words_and_as_numbers():
    [result] = ModelCard(model_card(FULL)).data.eval_results
    assert result.metric_name == "bits per character, upper bound (NELBO) ± 0.0080"
    assert result.metric_args == {"num_scored": 2000, "standard_error": 0.008}
    unknown = replace(EVALUATION, bits_per_character=(2.9, math.nan))
    [result] = ModelCard(model_card(replace(FULL, evaluation=unknown))).data.eval_results
    assert result.metric_name == "bits per character, upper bound (NELBO)"
    assert result.metric_args == {"num_scored": 2000}
