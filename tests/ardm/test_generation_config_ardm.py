"""Settings: each is checked by name, saved and loaded as it is, and one source lies on another."""

import copy
import json
import re

import numpy as np
import pytest
import torch

from ardm import ARDMForMaskedLM, ARDMGenerationConfig
from ardm.generation_config_ardm import ORDER_NAMES, PLAN_SETTINGS, RESAMPLE_NAMES, SETTINGS
from ardm.named_plans import PLAN_NAMES
from ardm.setting_checks import CHECKS

INTEGERS_FROM_1 = ("tokens_per_step", "steps", "num_return_sequences", "top_k", "block_length")
INTEGERS_FROM_0 = (
    "max_new_tokens",
    "resample_steps",
    "mask_token_id",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)
SHARES = ("top_p", "min_p", "threshold", "resample_fraction")  # above 0, at most 1
NUMBERS_FROM_0 = ("order_temperature", "entropy_bound", "guidance_scale")
FLAGS = ("do_sample", "select_after_warping", "return_dict_in_generate", "output_history")
NO_NUMBERS = (True, "2", [1.0], float("nan"), float("inf"), -float("inf"), 1j, torch.tensor(0.5))
HUGE = (10**30, 10**5000)

BAD = {
    **{name: (0, -1, 1.5, 2.0, True, "2", [1], float("nan"), *HUGE) for name in INTEGERS_FROM_1},
    **{name: (-1, 1.5, 2.0, True, "2", float("nan"), *HUGE) for name in INTEGERS_FROM_0},
    "eos_token_id": (-1, 1.5, True, "2", [1, -2], [1, 2.5], ["2"], [None], {"a": 1}, *HUGE),
    **dict.fromkeys(SHARES, (0, 0.0, -0.1, 1.0001, 2, 10**400, *NO_NUMBERS)),
    "temperature": (0, 0.0, -1.0, 1e-300, 1e300, 10**400, *NO_NUMBERS),
    **dict.fromkeys(NUMBERS_FROM_0, (-0.1, -1, 1e300, 10**400, *NO_NUMBERS)),
    **dict.fromkeys(FLAGS, ("yes", 2, 0.5, 1.0, [True], *map(torch.tensor, (True, [1, 0])))),
    "order": ("sideways", "", 3, [0, 1, 2], 1.5, True),
    "resample_order": ("remdm", "", "confidence"),
    "plan": ("best", 4, 1.5, {"a": 1}, [0], [2, -1], [1.5, 2.5], [True], ["2"], [None], [10**30]),
    "per_step_losses": (
        "low",
        1.0,
        [],
        [1.0, -0.1],
        [1.0, float("nan")],
        [float("inf")],
        [None],
        ["1"],
        {"a": 1.0},
    ),
    "seed": (-1, 1.5, True, "7", 2**63, [1, -1], [1, 2.5], [True], ["7"], [None], *HUGE),
}
GOOD = {
    **dict.fromkeys(INTEGERS_FROM_1, (1, 7, np.int64(7))),
    **dict.fromkeys(INTEGERS_FROM_0, (0, 7, np.uint8(7))),
    "eos_token_id": (0, 7, [1], [1, 2]),
    **dict.fromkeys(SHARES, (1e-09, 0.5, 1, 1.0)),
    "temperature": (1e-6, 1, 5.5, np.float32(0.5)),
    **dict.fromkeys(NUMBERS_FROM_0, (0, 0.0, 1, 7.5)),
    **dict.fromkeys(FLAGS, (True, False, np.bool_(True))),
    "order": (*ORDER_NAMES, torch.arange(3), lambda logits, masked, generator: masked),
    "resample_order": RESAMPLE_NAMES,
    "plan": ([1], [3, 2, 1], (2, 2), *PLAN_NAMES),
    "per_step_losses": ([0.0], [3.0, 1], (2.0, 1.5)),
    "seed": (0, 2**63 - 1, [1, 2], (3, 4)),
}


def test_every_setting_is_tested_and_documented():
    assert set(BAD) == set(GOOD) == set(SETTINGS) == set(CHECKS) | {"order", "resample_order"}
    documented = " ".join(
        re.findall(r"^ +- ([a-z_, ]+):", ARDMGenerationConfig.__doc__, re.MULTILINE)
    )
    assert set(documented.replace(",", " ").split()) == set(SETTINGS)
    defaults = ARDMGenerationConfig._get_default_generation_params()
    assert set(defaults) <= set(SETTINGS) and ARDMGenerationConfig(**defaults).do_sample


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bad_value_is_refused_by_name(name):
    for value in BAD[name]:
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            ARDMGenerationConfig(**{name: value})
        config = ARDMGenerationConfig()
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            config.overlay({name: value})


@pytest.mark.parametrize("name", SETTINGS)
def test_a_good_value_is_kept(name):
    for value in GOOD[name]:
        config = ARDMGenerationConfig(**{name: value})
        assert getattr(config, name) is value
        assert all(getattr(config, other) is None for other in SETTINGS if other != name)
    assert getattr(ARDMGenerationConfig(**{name: None}), name) is None


def test_the_pad_id_is_not_the_mask_id(tiny_model):
    """Else every mask would count as padding, and what lies behind an end as still hidden."""
    with pytest.raises(ValueError, match="pad_token_id is 3"):
        tiny_model().generate(torch.full((1, 8), 3), pad_token_id=3)


def test_what_does_not_go_together_is_refused():
    for settings, message in (
        (
            {"tokens_per_step": 1, "steps": 1},
            "got tokens_per_step and steps; expected at most one of",
        ),
        ({"tokens_per_step": 1, "plan": [1]}, "got tokens_per_step and plan"),
        ({"steps": 1, "plan": [1]}, "got steps and plan"),
        ({"tokens_per_step": 1, "plan": "optimal"}, "got tokens_per_step and plan"),
        (
            {"tokens_per_step": 1, "steps": 1, "plan": "optimal"},
            "got tokens_per_step and steps and plan",
        ),
        ({"threshold": 0.5, "entropy_bound": 1.0}, "got threshold and entropy_bound"),
        ({"tokens_per_stepp": 1}, r"unknown generation settings \['tokens_per_stepp'\]"),
        ({"num_beams": 2, "max_length": 9}, r"\['max_length', 'num_beams'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            ARDMGenerationConfig(**settings)
    assert ARDMGenerationConfig(steps=3, plan="optimal").steps == 3


# ------------------------------------------------------------------------------------ saved, loaded
SAVED = [
    {name: values[-1] for name, values in GOOD.items()}
    | {
        "order": "confidence",
        "plan": "optimal",
        "tokens_per_step": None,
        "entropy_bound": None,
        "per_step_losses": [3.25, 1 / 3, 1e-9],
        "seed": [1, 2**62],
        "eos_token_id": [1, 2],
        "mask_token_id": 3,
    },
    {
        "plan": [3, 2, 1],
        "entropy_bound": 0.1,
        "order": "left_to_right",
        "do_sample": False,
        "temperature": 1 / 3,
        "seed": 2**63 - 1,
        "eos_token_id": 2,
        "resample_order": "remdm_conf",
        "guidance_scale": 0.0,
        "block_length": 1,
    },
    {"tokens_per_step": 4},
    {},
]


@pytest.mark.parametrize("settings", SAVED, ids=["all", "some", "one", "none"])
def test_a_model_saves_and_loads_its_settings(tiny_model, tmp_path, settings):
    model = tiny_model()
    model.generation_config = ARDMGenerationConfig(**settings)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert {name: written.get(name) for name in SETTINGS} == {
        name: settings.get(name) for name in SETTINGS
    }
    for loaded in (
        ARDMForMaskedLM.from_pretrained(tmp_path).generation_config,
        ARDMGenerationConfig.from_pretrained(tmp_path),
    ):
        assert type(loaded) is ARDMGenerationConfig
        assert {name: getattr(loaded, name) for name in SETTINGS} == {
            name: settings.get(name) for name in SETTINGS
        }
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "generation_config.json").read_text()) == written


def test_loaded_settings_generate_the_same(tiny_model, tmp_path):
    model = tiny_model()
    losses = [2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1]
    model.generation_config = ARDMGenerationConfig(
        plan="optimal",
        steps=5,
        per_step_losses=losses,
        order="margin",
        order_temperature=0.5,
        resample_steps=1,
        seed=3,
        temperature=0.7,
        return_dict_in_generate=True,
        mask_token_id=3,
    )
    model.save_pretrained(tmp_path)
    one, two = model.generate(), ARDMForMaskedLM.from_pretrained(tmp_path).generate()
    assert torch.equal(one.sequences, two.sequences) and torch.equal(one.order, two.order)
    torch.testing.assert_close(one.log_probs, two.log_probs, rtol=0, atol=1e-6)
    assert one.num_forward_passes == two.num_forward_passes == 5
    passed = ARDMForMaskedLM.from_pretrained(
        tmp_path, generation_config=ARDMGenerationConfig(steps=2)
    )
    assert passed.generation_config.steps == 2 and passed.generation_config.plan is None


def test_an_order_that_is_no_name_is_of_one_call(tiny_model, tmp_path):
    model = tiny_model()
    for order in (torch.arange(8), lambda logits, masked, generator: masked):
        model.generation_config = ARDMGenerationConfig(order=order, steps=2)
        model.save_pretrained(tmp_path)
        written = json.loads((tmp_path / "generation_config.json").read_text())
        assert "order" not in written and written["steps"] == 2
        assert model.generation_config.order is order


def test_settings_of_a_later_version_are_named_and_dropped(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"steps": 2, "telepathy": true}')
    with pytest.warns(UserWarning, match=r"unknown to this version: \['telepathy'\]"):
        loaded = ARDMGenerationConfig.from_pretrained(tmp_path)
    assert loaded.steps == 2 and not hasattr(loaded, "telepathy")
    (tmp_path / "generation_config.json").write_text('{"steps": 0}')
    with pytest.raises(ValueError, match="steps is 0"):
        ARDMGenerationConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("written", ["[]", "3", "null", '"steps"'])
def test_a_file_that_holds_no_settings_is_an_error(tmp_path, tiny_model, written):
    tiny_model().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(written)
    with pytest.raises(ValueError, match="expected a mapping"):
        ARDMForMaskedLM.from_pretrained(tmp_path)


def test_a_misspelt_setting_is_an_error_wherever_it_is_set(tiny_model, tmp_path):
    hint = r"\['tokens_per_stepp'\] \(did you mean tokens_per_step\?\)"
    model = tiny_model()
    misspelt = {"tokens_per_stepp": 2}
    ARDMGenerationConfig(steps=2).save_pretrained(tmp_path)
    for make in (
        lambda: ARDMGenerationConfig(**misspelt),
        lambda: ARDMGenerationConfig.from_pretrained(tmp_path, **misspelt),
        lambda: model.generate(**misspelt),
    ):
        with pytest.raises(ValueError, match=hint):
            make()
    assert ARDMGenerationConfig.from_pretrained(tmp_path, steps=3, local_files_only=True).steps == 3
    passed = ARDMGenerationConfig()
    passed.tokens_per_stepp = 2
    with pytest.raises(ValueError, match=hint):
        model.generate(generation_config=passed)
    model.generation_config.tokens_per_stepp = 2
    with pytest.raises(ValueError, match=hint):
        model.generate()


def test_no_message_holds_a_limit_of_the_machine():
    for name, values in BAD.items():
        for value in values:
            with pytest.raises(ValueError, match=name) as refused:
                ARDMGenerationConfig(**{name: value})
            expected = str(refused.value).split("expected")[1]
            assert not re.search(r"\d{11}|e\+?[1-9]\d\d|inf", expected), expected


def test_a_model_without_settings_has_its_special_ids(tiny_model):
    config = tiny_model(eos_token_id=[0, 1], bos_token_id=2, pad_token_id=1).generation_config
    assert type(config) is ARDMGenerationConfig
    assert {
        name: getattr(config, name) for name in SETTINGS if getattr(config, name) is not None
    } == {"mask_token_id": 3, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": [0, 1]}


# --------------------------------------------------------------------------------- one on the other
LOSSES = [1.0, 0.5]
OPTIMAL = {"plan": "optimal", "steps": 3, "per_step_losses": LOSSES}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"tokens_per_step": 2}, {"steps": 3}, {"steps": 3}),
        ({"tokens_per_step": 2}, {"plan": [1, 2]}, {"plan": [1, 2]}),
        ({"steps": 2}, {"tokens_per_step": 3}, {"tokens_per_step": 3}),
        ({"plan": [1]}, {"steps": 3}, {"steps": 3}),
        ({"plan": [1]}, {"plan": [2]}, {"plan": [2]}),
        ({"steps": 2}, {"temperature": 0.5}, {"steps": 2, "temperature": 0.5}),
        ({"steps": 2}, {"steps": None}, {}),
        ({"steps": 2}, {"tokens_per_step": None}, {"steps": 2}),
        # the best plan and its number of steps
        (OPTIMAL, {"steps": 5}, OPTIMAL | {"steps": 5}),
        (OPTIMAL, {"plan": "optimal"}, OPTIMAL),
        (OPTIMAL, {"plan": "optimal", "steps": 5}, OPTIMAL | {"steps": 5}),
        (OPTIMAL, {"tokens_per_step": 2}, {"tokens_per_step": 2, "per_step_losses": LOSSES}),
        (OPTIMAL, {"plan": [3]}, {"plan": [3], "per_step_losses": LOSSES}),
        (OPTIMAL, {"plan": None}, {"steps": 3, "per_step_losses": LOSSES}),
        (OPTIMAL, {"plan": None, "steps": 5}, {"steps": 5, "per_step_losses": LOSSES}),
        ({"steps": 4}, {"plan": "optimal"}, {"steps": 4, "plan": "optimal"}),
        ({"steps": 4}, {"plan": "optimal", "steps": 2}, {"steps": 2, "plan": "optimal"}),
        ({"tokens_per_step": 4}, {"plan": "optimal", "steps": 2}, {"steps": 2, "plan": "optimal"}),
        ({"plan": [4]}, {"plan": "optimal", "steps": 2}, {"steps": 2, "plan": "optimal"}),
        ({"tokens_per_step": 4}, {"plan": "optimal"}, {"plan": "optimal"}),
        # how many more at a time
        ({"threshold": 0.5}, {"entropy_bound": 1.0}, {"entropy_bound": 1.0}),
        ({"entropy_bound": 1.0}, {"threshold": 0.5}, {"threshold": 0.5}),
        ({"entropy_bound": 1.0}, {"threshold": None}, {"entropy_bound": 1.0}),
        ({"entropy_bound": 1.0}, {"entropy_bound": None}, {}),
        (
            {"entropy_bound": 1.0, "steps": 2},
            {"threshold": 0.5, "tokens_per_step": 3},
            {"threshold": 0.5, "tokens_per_step": 3},
        ),
        # the others each for itself
        ({"order": "margin", "seed": 1}, {"order": "random"}, {"order": "random", "seed": 1}),
        ({"order": "margin"}, {"order": None}, {}),
        ({}, {}, {}),
    ],
)
def test_one_layer_on_another(below, above, expected):
    config, before = ARDMGenerationConfig(**below), copy.deepcopy(above)
    config.overlay(above)
    assert {
        name: getattr(config, name) for name in SETTINGS if getattr(config, name) is not None
    } == expected
    assert above == before


def test_what_a_layer_says_itself_must_fit_together():
    for above, message in (
        ({"steps": 1, "tokens_per_step": 1}, "tokens_per_step and steps"),
        ({"steps": 1, "plan": [1]}, "steps and plan"),
        ({"plan": "optimal", "tokens_per_step": 2}, "tokens_per_step and plan"),
        ({"threshold": 0.5, "entropy_bound": 1.0}, "threshold and entropy_bound"),
    ):
        for below in ({}, OPTIMAL, {"tokens_per_step": 2}, {"entropy_bound": 2.0}):
            with pytest.raises(ValueError, match=message):
                ARDMGenerationConfig(**below).overlay(above)


@pytest.mark.parametrize("above", ["call", "generation_config"])
def test_generate_lays_the_call_on_its_configuration_on_the_models(tiny_model, above):
    model, ids = tiny_model(), torch.full((1, 8), 3)
    below = {
        "order": "left_to_right",
        "tokens_per_step": 4,
        "threshold": 1e-9,
        "eos_token_id": 1,
        "seed": 3,
    }
    model.generation_config = ARDMGenerationConfig(**below)

    def generate(**settings):
        if above == "call":
            return model.generate(ids, return_dict_in_generate=True, **settings)
        return model.generate(
            ids, generation_config=ARDMGenerationConfig(return_dict_in_generate=True, **settings)
        )

    assert generate().num_forward_passes == 1  # threshold
    out = generate(entropy_bound=0.0, plan=[7, 1], eos_token_id=0)
    until = out.order[0][out.order[0] >= 0]
    assert until.tolist() == [0, 0, 0, 0, 0, 0, 0, 1][: len(until)] and len(until) > 1
    assert (out.sequences[0, len(until) :] == 0).all()  # the call's own EOS fills
    # the model keeps its own
    assert {n: getattr(model.generation_config, n) for n in below} == below
    both = model.generate(
        ids,
        generation_config=ARDMGenerationConfig(order="right_to_left", steps=2, seed=1),
        order="random",
        seed=2,
    )
    assert torch.equal(both, model.generate(ids, order="random", steps=2, seed=2))


def test_only_an_explicit_none_in_the_call_turns_a_setting_off(tiny_model):
    model, ids = tiny_model(), torch.full((1, 8), 3)
    model.generation_config = ARDMGenerationConfig(steps=2)
    settings = {"return_dict_in_generate": True}
    assert (
        model.generate(
            ids, generation_config=ARDMGenerationConfig(steps=None), **settings
        ).num_forward_passes
        == 2
    )
    assert model.generate(ids, steps=None, **settings).num_forward_passes == 8
    for name in PLAN_SETTINGS:
        assert (
            model.generate(ids, **{"steps": None, name: None}, **settings).num_forward_passes == 8
        )
