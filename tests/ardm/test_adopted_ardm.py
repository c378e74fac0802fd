"""The call of an adopted model: the bound's loss, under Trainer too, and whose logits it has."""

import copy
import pickle

import pytest
import torch
from transformers import (
    FNetConfig,
    FNetForMaskedLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Trainer,
    TrainingArguments,
)

from ardm import RandomRatioCollator, adopt, nelbo, random_ratio_mask

from .families import MASK, adopted_model

TEXT = torch.tensor([[3, 4, 5, 6, 7, 8], [8, 7, 6, 9, 9, 3]])


def masked():
    return random_ratio_mask(TEXT, MASK, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_loss_is_the_mean_over_each_rows_masked_tokens(family):
    model = adopted_model(family)
    ids, labels = masked()
    output = model(ids, labels=labels)
    nats = -output.logits.log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    hidden = labels >= 0
    by_hand = torch.stack([nats[row][hidden[row]].mean() for row in range(2)]).mean()
    torch.testing.assert_close(output.loss, by_hand)
    alone = model(ids, labels=labels, logits_positions=hidden)
    assert alone.logits.shape == (int(hidden.sum()), 13)
    torch.testing.assert_close(alone.loss, by_hand)
    as_tuple = model(ids, labels=labels, return_dict=False)
    torch.testing.assert_close(as_tuple[0], by_hand)


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama", "gpt2"])
def test_trainer_trains_it_and_its_evaluation_loss_is_the_bound(family, tmp_path):
    model = adopted_model(family, given_token_ids=[2])
    rows = [{"input_ids": [2, *row]} for row in TEXT.tolist()]
    collator = RandomRatioCollator(MASK, 0, given_token_ids=model.config.given_token_ids)
    settings = TrainingArguments(
        tmp_path,
        max_steps=6,
        learning_rate=5e-3,
        per_device_train_batch_size=2,
        per_device_eval_batch_size=60,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
    )
    # copies of a row take different masks
    trainer = Trainer(model, settings, train_dataset=rows, eval_dataset=rows * 300)
    trainer.data_collator = collator
    before = trainer.evaluate()["eval_loss"]
    text = torch.tensor([row["input_ids"] for row in rows])
    bound = nelbo(model, text, num_samples="all", num_orders=60, generator=torch.Generator())
    error = (bound.standard_error.square().sum().sqrt() / 12).item()
    assert before == pytest.approx((bound.nats.sum() / 12).item(), abs=4 * error + 0.05)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before


def test_tokens_around_a_text_are_neither_masked_nor_labels():
    collator = RandomRatioCollator(MASK, 0, given_token_ids=[2, 11])
    for _ in range(20):
        batch = collator([{"input_ids": [2, 3, 4, 11]}, {"input_ids": [2, 5, 6, 7, 11]}])
        around = torch.isin(batch["input_ids"], torch.tensor([2, 11, 0]))
        assert around.sum() == 5 and (batch["labels"][around] == -100).all()
        assert batch["num_maskable"].tolist() == [2, 3]


def test_a_prompt_is_given_beside_what_stands_around_a_text():
    model = adopted_model("bert", given_token_ids=[2, 11])
    text = torch.tensor([[2, 3, 4, 5, 6, 11]])
    prompt = torch.tensor([[0, 1, 1, 0, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    bound = nelbo(model, text, num_samples="all", prompt_mask=prompt, generator=generator)
    assert bound.num_tokens.item() == 2
    around = prompt | torch.isin(text, torch.tensor([2, 11])).long()
    generator = torch.Generator().manual_seed(0)
    same = nelbo(model, text, num_samples="all", prompt_mask=around, generator=generator)
    assert torch.equal(bound.nats, same.nats)


def test_a_callers_own_loss_gets_finite_logits():
    model = adopted_model("bert")
    ids, labels = masked()
    logits = model(ids, num_items_in_batch=3).logits
    assert logits.isfinite().all() and logits.softmax(-1)[..., MASK].max() < 1e-8
    assert (model(ids).logits[..., MASK] == -torch.inf).all()
    with pytest.raises(ValueError, match="labels"):
        model(ids, labels=labels[:, :3])


def test_impossible_labels_are_refused():
    model = adopted_model("bert", given_token_ids=[2])
    for wrong in (MASK, 2, 0):
        with pytest.raises(ValueError, match="labels"):
            model(TEXT, labels=torch.full_like(TEXT, wrong))


def test_a_class_without_an_attention_mask_refuses_padding():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 13}
    plain = FNetForMaskedLM(FNetConfig(**sizes, max_position_embeddings=16, tpu_short_seq_length=8))
    model = adopt(plain.eval(), mask_token_id=MASK, given_token_ids=[])
    assert model(TEXT, torch.ones_like(TEXT)).logits.shape == (2, 6, 13)
    real = torch.ones_like(TEXT)
    real[0, 0] = 0
    with pytest.raises(ValueError, match="would read padding as text"):
        model(TEXT, real)


def test_copies_are_models_of_their_own():
    model = adopted_model("llama")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(2)
    wanted = torch.zeros_like(TEXT, dtype=torch.bool)
    wanted[0, 2] = True
    own, others = (each(TEXT, logits_positions=wanted).logits for each in (model, other))
    torch.testing.assert_close(own, model(TEXT).logits[wanted])
    torch.testing.assert_close(others, other(TEXT).logits[wanted])


def test_positions_and_hidden_states_may_be_asked_for():
    model = adopted_model("bert")
    places = torch.arange(6).expand(2, 6)
    output = model(TEXT, position_ids=places, output_hidden_states=True)
    assert len(output.hidden_states) == 3
    torch.testing.assert_close(output.logits, model(TEXT).logits)
    embeds = model.get_input_embeddings()(TEXT)
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, model(TEXT).logits)
    with pytest.raises(ValueError, match="neither input_ids nor inputs_embeds"):
        model()


def test_guidance_leaves_what_stands_around_a_text():
    model = adopted_model("bert", given_token_ids=[2])
    ids = torch.tensor([[2, 3, MASK, 4, 2]])
    seen = []
    hook = model.base_model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    model.generate(ids, guidance_scale=2.0, seed=0)
    hook.remove()
    assert seen[0].tolist() == [[2, 3, MASK, 4, 2], [2, MASK, MASK, MASK, 2]]


def test_its_name_and_prose_are_those_of_its_own_class():
    model = adopted_model("bert")
    assert type(model).__name__ == "BertForMaskedLM" and model.can_generate()
    assert model.stages.num_stages == 1 and model.longest_sequence == 40
    roberta = adopted_model("roberta")
    assert roberta.longest_sequence == 38
    with pytest.raises(ValueError, match="at most 38, as the model takes 38 positions"):
        roberta.generate(max_new_tokens=39)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "esm"])
def test_one_token_too_many_is_refused(family):
    model = adopted_model(family)
    longest = torch.full((1, model.longest_sequence), 3)
    assert model(longest).logits.shape[1] == model.longest_sequence
    with pytest.raises(ValueError, match=f"expected at most .*{model.longest_sequence}"):
        model(torch.full((1, model.longest_sequence + 1), 3))


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_copies_through_a_file_are_the_same_model(family):
    model = adopted_model(family)
    other = pickle.loads(pickle.dumps(model))
    assert type(other) is type(model)
    assert torch.equal(other(TEXT).logits, model(TEXT).logits)
    ids = torch.tensor([[3, MASK, MASK]])
    assert torch.equal(other.generate(ids, seed=0), model.generate(ids, seed=0))


def test_a_refused_model_is_what_it_was():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 16}
    types = {"attention_types": [[["global"], 1]], "max_position_embeddings": 32}
    plain = GPTNeoForCausalLM(GPTNeoConfig(vocab_size=13, **sizes, **types)).eval()
    before = (type(plain), plain.config.to_dict(), plain.generation_config.to_dict())
    logits = plain(TEXT).logits
    with pytest.raises(ValueError, match="is causal"):
        adopt(plain)
    assert before == (type(plain), plain.config.to_dict(), plain.generation_config.to_dict())
    assert torch.equal(plain(TEXT).logits, logits)
