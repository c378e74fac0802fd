"""Training with stages: the loss by hand, the bound by any collator, files, and what is refused."""

import warnings

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM

from ardm import (
    ARDMConfig,
    ARDMForMaskedLM,
    RandomRatioCollator,
    log_prob,
    measure_step_losses,
    nelbo,
    per_step_losses,
    random_ratio_mask,
)
from ardm.masking import keyed_random_ratio_mask
from ardm.objective import RandomRatioObjective
from ardm.training import Batch
from ardm.vocabulary import stages_of

from .staged import (
    KINDS,
    ORDERS,
    PARAMETRIZATIONS,
    StagedEnumeration,
    mean_by_hand,
    settings_of,
)
from .trainers import trainer_of

STAGED = [kind for kind in KINDS if kind[0] in ("digits", "deep")]
EVERY_KIND = pytest.mark.parametrize("kind", STAGED, ids=" ".join)


def texts(model, *shape):
    return torch.randint(0, model.config.mask_token_id, shape)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------ the objective
@EVERY_KIND
@pytest.mark.parametrize(
    ("settings", "progress"),
    [({}, 0.0), ({"weight_power": 1.0}, 0.5), ({"weight_power": 0.5, "start_ratio": 0.5}, 0.2)],
)
def test_the_objective_is_the_loss_by_hand(tiny_model, kind, settings, progress):
    model = tiny_model(**settings_of(*kind))
    stages, mask = model.stages, model.config.mask_token_id
    ids, numbers = texts(model, 6, 5), torch.arange(12, 18)
    real = torch.ones_like(ids)
    real[1, 3:] = 0
    prompt = torch.zeros_like(ids)
    prompt[:3, 0] = 1
    parts = {"input_ids": ids, "attention_mask": real, "prompt_mask": prompt}
    objective = RandomRatioObjective(mask, seed=3, **settings)
    got = objective(model, Batch(parts, numbers, 6, progress))
    highest = objective.max_ratio(progress)
    canvas, labels = keyed_random_ratio_mask(
        ids,
        mask,
        numbers,
        seed=3,
        global_batch_size=6,
        max_ratio=highest,
        attention_mask=real,
        prompt_mask=prompt,
        stages=stages,
    )
    nats = mean_by_hand(stages, model(canvas, real).logits, canvas, labels)
    size = (real - prompt).sum(1)
    left = (labels != -100).sum(1) / size
    if stages.interleaved:
        reveals = (stages.num_stages - stages.level(canvas)) * (labels != -100)
        left = reveals.sum(1) / (size * stages.num_stages)
    assert (left < highest + 1 / size).all()
    power = settings.get("weight_power", 0)
    weights = (1 + power) * (left / highest) ** power
    of_rows = nats * size * stages.num_stages
    torch.testing.assert_close(got["loss"], (weights * of_rows).sum() / ids.numel())
    torch.testing.assert_close(got["nats_per_token"], of_rows.sum() / size.sum())


@EVERY_KIND
def test_all_parameters_learn(tiny_model, kind):
    model = tiny_model(**settings_of(*kind))
    batch = Batch({"input_ids": texts(model, 64, 4)}, torch.arange(64), 64, 0.0)
    RandomRatioObjective(model.config.mask_token_id)(model, batch)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert model.model.embed_coarse.weight.grad.any(1).all()  # every coarse value has been seen


@EVERY_KIND
def test_the_models_own_loss_is_the_same_mean(tiny_model, kind):
    model = tiny_model(**settings_of(*kind))
    ids = texts(model, 6, 4)
    real = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]] * 3)
    mask = model.config.mask_token_id
    canvas, labels = random_ratio_mask(
        ids, mask, attention_mask=real, generator=generator(), stages=model.stages
    )
    nats = mean_by_hand(model.stages, model(canvas, real).logits, canvas, labels)
    nats = nats * model.stages.num_stages
    weighted = (nats * real.sum(1)).sum() / real.sum()
    torch.testing.assert_close(model(canvas, real, labels=labels).loss, weighted)
    positions = labels != -100
    there = model(canvas, real, labels=ids, logits_positions=positions, num_maskable=real.sum(1))
    torch.testing.assert_close(there.loss, weighted)
    assert there.logits.shape == (int(positions.sum()), model.stages.num_outputs)


# ------------------------------------------------------------------------------------ the collator
@EVERY_KIND
def test_the_collators_batches_hold_what_the_bound_needs(tiny_model, kind):
    model = tiny_model(**settings_of(*kind))
    stages = model.stages
    rows = [texts(model, n).tolist() for n in (5, 2, 1, 4)]
    collate = RandomRatioCollator(stages.mask_token_id, 0, generator(), stages)
    batch = collate([{"input_ids": row} for row in rows])
    real = batch["attention_mask"].bool()
    assert batch["num_maskable"].tolist() == [5, 2, 1, 4]
    for row, ids in enumerate(rows):
        n = len(ids)
        assert batch["labels"][row, :n].tolist() == ids
        levels = stages.level(batch["input_ids"][row, :n])
        expected = stages.coarsen(torch.tensor(ids), levels)
        assert torch.equal(batch["input_ids"][row, :n], expected)
        assert (batch["labels"][row, n:] == -100).all()
    assert not (batch["logits_positions"] & ~real).any()
    nats = mean_by_hand(
        stages,
        model(batch["input_ids"], batch["attention_mask"]).logits,
        batch["input_ids"],
        batch["labels"].masked_fill(~batch["logits_positions"], -100),
    )
    expected = (nats * stages.num_stages * real.sum(1)).sum() / real.sum()
    torch.testing.assert_close(model(**batch).loss, expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", [k for k in STAGED if k[0] == "digits"], ids=" ".join)
def test_collated_batches_cost_the_bound(tiny_model, kind):
    model = tiny_model(**settings_of(*kind))
    exact = StagedEnumeration(model, 3)
    bound = float(exact.step_losses().sum(1).mean()) / 3  # a token
    collate = RandomRatioCollator(4, None, generator(1), model.stages)
    examples = [{"input_ids": row.tolist()} for row in exact.sequences]
    losses = torch.stack([model(**collate(examples)).loss for _ in range(60)]).double()
    assert abs(losses.mean() - bound) < 4 * losses.std() / 60**0.5


@pytest.mark.parametrize("stage_order", ORDERS)
def test_evaluation_by_trainer_is_the_bound(tiny_model, tmp_path, stage_order):
    """Of values whose coarse ones cost little: a stage that comes too often or not is seen."""
    table = {"vocab_size": 7, "mask_token_id": 6, "value_tree": [[0, 0, 0, 0, 0, 1]]}
    model = tiny_model(stage_order=stage_order, **table)
    exact = StagedEnumeration(model, 2)
    ids = exact.sequences[(exact.sequences < 5).all(1)]
    bound = float(exact.step_losses(ids).sum(1).mean()) / 2
    rows = [{"input_ids": row.tolist()} for row in ids.repeat(40, 1)]
    collate = RandomRatioCollator(6, None, None, model.stages)
    trainer = trainer_of(model, tmp_path, collate, rows, per_device_eval_batch_size=1000)
    losses = [trainer.evaluate()["eval_loss"] for _ in range(2)]
    assert losses[0] == losses[1] and abs(losses[0] - bound) < 0.16
    settings = {"max_steps": 10, "per_device_train_batch_size": 100, "learning_rate": 0.0}
    trained = trainer_of(model, tmp_path, collate, rows, **settings).train()
    assert abs(trained.training_loss - bound) < 0.2


def test_stages_of_another_mask_are_refused():
    stages = stages_of(ARDMConfig(**settings_of("digits")))
    with pytest.raises(ValueError, match="mask_token_id is 3; expected 4, the root of the stages"):
        RandomRatioCollator(3, stages=stages)


# ------------------------------------------------------------------------------------------- files
@EVERY_KIND
def test_a_saved_model_is_the_same(tiny_model, tmp_path, kind):
    model = tiny_model(**settings_of(*kind))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    assert loaded.stages is model.stages
    state = loaded.state_dict()
    assert "model.embed_coarse.weight" in state
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    mask = model.config.mask_token_id
    generated = [m.generate(torch.full((2, 4), mask), seed=1) for m in (model, loaded)]
    assert torch.equal(*generated)
    body = AutoModel.from_pretrained(tmp_path)
    canvas = model.stages.coarsen(texts(model, 2, 4), 1)
    torch.testing.assert_close(
        body(canvas).last_hidden_state, model.model(canvas).last_hidden_state
    )


def test_a_table_is_saved_with_the_model(tiny_model, tmp_path):
    model = tiny_model(**settings_of("table"))
    model.save_pretrained(tmp_path)
    loaded = ARDMForMaskedLM.from_pretrained(tmp_path)
    assert loaded.config.value_tree == [[0, 1, 1, 0]] and loaded.stages is model.stages


def test_a_plain_model_has_no_coarse_values(tiny_model, tmp_path):
    model = tiny_model()
    assert model.model.embed_coarse is None
    assert not any("coarse" in name for name in model.state_dict())


@pytest.mark.parametrize("padding", [{}, {"pad_to_multiple_of": 8}])
def test_a_vocabulary_with_coarse_values_behind_it_does_not_grow(tiny_model, padding):
    model = tiny_model(**settings_of("digits"))
    for size in (9, None) if padding else (9, 4):
        with pytest.raises(ValueError, match="coarse values"):
            model.resize_token_embeddings(size, mean_resizing=False, **padding)
    assert model.config.vocab_size == 5
    model.resize_token_embeddings(5)
    assert model(torch.tensor([[6, 5, 4, 0]])).logits.shape == (1, 4, 5)


# --------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    "ask",
    [
        lambda model, ids: nelbo(model, ids),
        lambda model, ids: nelbo(model, ids, num_samples="all"),
        lambda model, ids: log_prob(model, ids, "left_to_right"),
        lambda model, ids: log_prob(model, ids, "confidence"),
        lambda model, ids: per_step_losses(model, ids),
        lambda model, ids: measure_step_losses(model, ids),
    ],
)
@pytest.mark.parametrize("kind", STAGED[:4], ids=" ".join)
def test_a_coarse_value_is_no_text(tiny_model, kind, ask):
    model = tiny_model(**settings_of(*kind))
    for node in (5, 6, 99, -1):
        with pytest.raises(ValueError, match=r"input_ids holds ids in .*; expected 0\.\.4"):
            ask(model, torch.tensor([[0, node, 1]]))
    with pytest.raises(ValueError, match="mask id 4"):
        ask(model, torch.tensor([[0, 4, 1]]))


@pytest.mark.parametrize("node", [5, 6, 99, -1])
def test_training_takes_no_coarse_value_either(tiny_model, node):
    """Nor an id below 0, which would stand for the last one."""
    model = tiny_model(**settings_of("digits"))
    ids = torch.tensor([[0, node, 1]] * 6)
    with pytest.raises(ValueError, match="input_ids"):
        random_ratio_mask(ids, 4, stages=model.stages)
    with pytest.raises(ValueError, match="input_ids"):
        RandomRatioCollator(4, stages=model.stages)([{"input_ids": row} for row in ids.tolist()])
    with pytest.raises(ValueError, match="input_ids"):
        RandomRatioObjective(4)(model, Batch({"input_ids": ids}, torch.arange(6), 6, 0.0))


@pytest.mark.parametrize("kind", STAGED[:4], ids=" ".join)
def test_class_ids_are_only_ever_given(tiny_model, kind):
    """Behind the values and the mask: read, and of probability 0."""
    settings = settings_of(*kind) | {"vocab_size": 8, "num_values": 4}
    model = tiny_model(**settings)
    classes = torch.tensor([[5], [6], [7]])
    assert model.stages.tree.leaf_order.sort().values.tolist() == [0, 1, 2, 3]
    out = model.generate(torch.cat((classes, torch.full((3, 6), 4)), 1), num_return_sequences=20)
    assert (out[:, 1:] < 4).all() and torch.equal(out[:, :1], classes.repeat_interleave(20, 0))
    prompt = torch.zeros_like(out)
    prompt[:, 0] = 1
    nats = nelbo(model, out[::20], prompt_mask=prompt[::20]).nats
    assert nats.isfinite().all() and len({*nats.tolist()}) == 3
    same = out[:1].expand(3, -1).clone()
    same[:, 0] = classes[:, 0]
    given = log_prob(model, same, "left_to_right", prompt_mask=prompt[:3])
    assert (given.diff().abs() > 1e-4).all()
    with pytest.raises(ValueError, match="holds 5, an id that is only ever given"):
        nelbo(model, out[:1])


@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_labels_are_values_and_need_ids(tiny_model, parametrization):
    model = tiny_model(**settings_of("digits", "stagewise", parametrization))
    ids = torch.tensor([[4, 5, 6]])
    for label in (5, 6, -1):
        with pytest.raises(ValueError, match=r"labels holds ids in .*; expected 0\.\.4"):
            model(ids, labels=torch.tensor([[0, label, -100]]))
    with pytest.raises(ValueError, match="labels hold 4, the mask"):
        model(ids, labels=torch.tensor([[4, 0, -100]]))
    with pytest.raises(ValueError, match="got labels and no input_ids; expected the ids"):
        model(inputs_embeds=torch.zeros(1, 3, 8), labels=torch.tensor([[0, 1, 2]]))


@pytest.mark.parametrize("kind", STAGED[:4], ids=" ".join)
def test_labels_stand_below_what_their_positions_hold(tiny_model, kind):
    model = tiny_model(**settings_of(*kind))
    labels = torch.tensor([[0, 1, 2]])
    others = model.stages.coarsen(torch.tensor([[0, 3, 2]]), 1)
    with pytest.raises(ValueError, match="labels hold 1 at a position whose coarse value"):
        model(others, labels=labels)
    positions = torch.tensor([[True, False, True]])  # elsewhere labels do not count
    assert model(others, labels=labels, logits_positions=positions).loss.isfinite()
    assert model(model.stages.coarsen(labels, 1), labels=labels).loss.isfinite()


@pytest.mark.parametrize("kind", STAGED[:4], ids=" ".join)
def test_a_loss_of_the_callers_own_is_refused(tiny_model, kind):
    with pytest.raises(ValueError, match="num_items_in_batch comes without labels"):
        tiny_model(**settings_of(*kind))(torch.tensor([[4, 4]]), num_items_in_batch=2)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.tensor([0, 1, 1]), "order is no permutation"),
        (torch.tensor([0, 1, 2, 2, 1, 1]), "order is no arrangement of the reveals"),
        (torch.tensor([[0, 1, 2]]), r"order has shape \(1, 3\)"),
        (torch.tensor([[[0, 1, 2]] * 3]), r"order has shape \(1, 3, 3\)"),
        ("random", "the average over random orders is bounded by nelbo"),
        ("drawn_confidence", "which position comes next depends on tokens"),
        ([0, 1, 2], "order is list"),
    ],
)
def test_what_is_no_order_of_reveals_is_refused(tiny_model, order, message):
    for stage_order in ORDERS:
        model = tiny_model(**settings_of("digits", stage_order))
        with pytest.raises(ValueError, match=message):
            log_prob(model, torch.tensor([[0, 1, 2]]), order)


def test_plans_that_cross_stages_are_refused(tiny_model):
    ids = torch.tensor([[0, 1, 2]])
    order = torch.tensor([0, 1, 2])
    model = tiny_model(**settings_of("digits"))
    for plan, message in (
        ([4, 2], r"plan sums to 6; expected 3 \+ 3, the number of tokens of row 0"),
        ([[2, 1], [2, 2]], r"plan sums to 3 \+ 4; expected 3 \+ 3"),
        ([[3], [3], [3]], "plan has 3 lists; expected 2"),
        ([2, 2], r"plan sums to 4; expected 3 \+ 3"),
        ("uniform", "plan is 'uniform'; expected a list of group sizes"),
    ):
        for way in (order, "confidence"):
            with pytest.raises(ValueError, match=message):
                log_prob(model, ids, way, plan=plan)
    overlapping = tiny_model(**settings_of("digits", "interleaved"))
    for plan, message in (([3], "plan sums to 3; expected 6"), ([2, 2], "sums to 4; expected 6")):
        with pytest.raises(ValueError, match=message):
            log_prob(overlapping, ids, order, plan=plan)
    assert log_prob(overlapping, ids, order, plan=[4, 2]).isfinite().all()


@pytest.mark.parametrize("stage_order", ORDERS)
def test_canvases_without_stages_are_warned_of(tiny_model, stage_order):
    """Their loss looks like a bound, and may be below the entropy of the data."""
    model = tiny_model(**settings_of("digits", stage_order))
    ids = texts(model, 40, 8).clamp(max=3)
    canvas, labels = random_ratio_mask(ids, 4, generator=generator())
    with pytest.warns(UserWarning, match="no position of the batch holds a coarse value"):
        model(canvas, labels=labels)
    own, labels = random_ratio_mask(ids, 4, generator=generator(), stages=model.stages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(own, labels=labels)


def test_what_is_no_stages_or_no_leaf_is_refused(tiny_model):
    stages = tiny_model(**settings_of("digits")).stages
    with pytest.raises(ValueError, match=r"stages is 3; expected `model\.stages`"):
        RandomRatioCollator(4, stages=3)
    for ids, level in ((5, 1), (0, 3)):
        with pytest.raises(ValueError, match="expected ids of the vocabulary, below 5, and levels"):
            stages.coarsen(torch.tensor([ids]), level)
    with pytest.raises(ValueError, match=r"nodes hold other ids; expected 0\.\.6"):
        stages.level(torch.tensor([99]))
