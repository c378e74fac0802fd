"""The configuration is typed, refuses what does not fit together, and survives JSON."""

import json

import pytest
from transformers import AutoConfig

from ardm import ARDMConfig, ARDMForMaskedLM

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
OWN = set(ARDMConfig.__annotations__) - {"model_type"}


def test_defaults_are_the_papers_text8_network():
    config = ARDMConfig()
    assert (config.vocab_size, config.mask_token_id, config.pad_token_id) == (28, 27, None)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (
        12,
        768,
        12,
    )


def test_round_trip(tmp_path):
    config = ARDMConfig(
        **SMALL,
        vocab_size=40,
        mask_token_id=3,
        pad_token_id=0,
        tie_word_embeddings=True,
        rope_theta=5,
    )
    config.save_pretrained(tmp_path)
    for loaded in (ARDMConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is ARDMConfig
        assert {name: getattr(loaded, name) for name in OWN} == {
            name: getattr(config, name) for name in OWN
        }
    assert isinstance(AutoConfig.for_model("ardm", **SMALL), ARDMConfig)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"intermediate_size": 0}, "intermediate_size is 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"hidden_size": 9}, "hidden_size is 9"),
        ({"hidden_size": 6}, "hidden_size is 6"),  # two heads of 3: rotary positions turn pairs
        ({"conv_kernel_size": 4}, "conv_kernel_size is 4"),
        ({"conv_kernel_size": -1}, "conv_kernel_size is -1"),
        ({"attention_dropout": 1.0}, "attention_dropout is 1.0"),
        ({"hidden_dropout": -0.1}, "hidden_dropout is -0.1"),
        ({"mask_token_id": None}, "mask_token_id is None"),
        ({"mask_token_id": 28}, r"mask_token_id is 28; expected in 0\.\.27"),
        ({"mask_token_id": -1}, "mask_token_id is -1"),
        ({"pad_token_id": 27}, "pad_token_id is 27"),
        ({"pad_token_id": 28}, "pad_token_id is 28"),
        ({"pad_token_id": -1}, "pad_token_id is -1"),
        ({"eos_token_id": 28}, "eos_token_id is 28"),
        ({"eos_token_id": [0, 27]}, r"eos_token_id is \[0, 27\]; expected another id"),
        ({"bos_token_id": 27}, "bos_token_id is 27"),
        ({"unk_token_id": -1}, "unk_token_id is -1"),
        ({"hidden_act": "nope"}, "hidden_act is nope"),
        ({"rope_theta": 0}, "rope_theta is 0"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
        ({"vocab_size": "28"}, "vocab_size"),
        ({"hidden_size": 8.0}, "hidden_size"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ARDMConfig(**(SMALL | change))


@pytest.mark.parametrize("name", sorted(OWN - {"value_tree"}))  # which may be any table
def test_a_setting_of_another_type_is_named_with_what_is_expected(name):
    expected = rf"^{name} is \{{\}} \(dict\); expected .*(int|str|bool|float).*\.$"
    with pytest.raises(ValueError, match=expected):
        ARDMConfig(**(SMALL | {name: {}}))
    config = ARDMConfig(**SMALL)
    with pytest.raises(ValueError, match=expected):
        setattr(config, name, {})


def test_smallest_network():
    model = ARDMForMaskedLM(
        ARDMConfig(
            vocab_size=2,
            mask_token_id=0,
            hidden_size=2,
            num_hidden_layers=0,
            num_attention_heads=1,
            intermediate_size=1,
            max_position_embeddings=1,
        )
    )
    assert model.generate().tolist() == [[1]]


# ------------------------------------------------------------------------------- names and files
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hidden_sise", "hidden_size"),
        ("num_layers", "num_hidden_layers"),
        ("mask_id", "mask_token_id"),
        ("head_dim", None),
        ("temperature", None),  # transformers drops settings of `generate` silently
    ],
)
def test_a_name_that_nothing_reads_is_refused(tmp_path, name, hint):
    message = f"unknown settings \\['{name}'\\]" + (f".*did you mean {hint}\\?" if hint else "")
    ARDMForMaskedLM(ARDMConfig(**SMALL)).save_pretrained(tmp_path)
    for call in (
        lambda: ARDMConfig(**SMALL, **{name: 1}),
        lambda: AutoConfig.for_model("ardm", **SMALL, **{name: 1}),
        lambda: ARDMConfig.from_pretrained(tmp_path, **{name: 1}),
        lambda: AutoConfig.from_pretrained(tmp_path, **{name: 1}),
        lambda: ARDMConfig.from_dict(SMALL, **{name: 1}),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises((TypeError, ValueError), match=name):
        ARDMForMaskedLM.from_pretrained(tmp_path, **{name: 1})
    for cls in (ARDMConfig, AutoConfig):
        given = {"foo": 2, "num_labels": 4, "return_unused_kwargs": True}
        config, unused = cls.from_pretrained(tmp_path, **given)
        assert unused == {"foo": 2} and config.num_labels == 4


OF_TRANSFORMERS = {
    "torch_dtype": "bfloat16",
    "dtype": "float32",
    "id2label": {0: "a", 1: "b", 2: "c"},
    "label2id": {"a": 0},
    "num_labels": 3,
    "architectures": ["ARDMForMaskedLM"],
    "attn_implementation": "eager",
    "output_hidden_states": True,
    "output_attentions": True,
    "return_dict": False,
    "problem_type": "regression",
    "chunk_size_feed_forward": 0,
    "is_encoder_decoder": False,
    "auto_map": {"AutoConfig": "x.Y"},
    "transformers_version": "5.11.0",
    "model_type": "ardm",
    "use_cache": False,
    "name_or_path": "me/mine",
}


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_names_of_transformers_are_known_and_kept(tmp_path, name):
    config = ARDMConfig(**SMALL, **{name: OF_TRANSFORMERS[name]})
    assert ARDMConfig(**config.to_dict()).to_dict() == config.to_dict()
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    plain = {"transformers_version": 0, "_name_or_path": 0}
    assert loaded.to_dict() | plain == config.to_dict() | plain


@pytest.mark.parametrize("name", sorted(OWN))
def test_settings_of_a_call_are_checked_like_those_of_the_constructor(tmp_path, name):
    config = ARDMConfig(**SMALL)
    config.save_pretrained(tmp_path)
    value = getattr(config, name)
    assert getattr(ARDMConfig.from_pretrained(tmp_path, **{name: value}), name) == value
    with pytest.raises(ValueError, match=name):
        ARDMConfig.from_pretrained(tmp_path, **{name: "nonsense"})
    if name.endswith("token_id"):
        with pytest.raises(ValueError, match=rf"{name} is 28; expected in 0\.\.27"):
            ARDMConfig.from_pretrained(tmp_path, **{name: 28})


def with_settings(folder, **settings):
    ARDMConfig(**SMALL).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return path


def test_a_file_with_unknown_settings_loads_with_a_warning(tmp_path):
    path = with_settings(tmp_path, num_steps=1, hidden_sise=3, temperature=2.0)
    for load in (
        lambda: ARDMConfig.from_pretrained(tmp_path),
        lambda: AutoConfig.from_pretrained(tmp_path),
        lambda: ARDMConfig.from_json_file(path),
    ):
        with pytest.warns(UserWarning, match="left out: hidden_sise, num_steps, temperature"):
            config = load()
        assert config.hidden_size == 8 and not hasattr(config, "num_steps")


NAMES = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
KERNELS = ("someone/kernel", "someone/kernel@main:f", "flash_attention_2", {"": "someone/kernel"})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_file_does_not_choose_code_of_someone_elses(tmp_path, name, kernel):
    path = with_settings(tmp_path, **{name: kernel})
    for load in (
        lambda: ARDMConfig.from_pretrained(tmp_path),
        lambda: AutoConfig.from_pretrained(tmp_path),
        lambda: ARDMConfig.from_json_file(path),
        lambda: ARDMForMaskedLM.from_pretrained(tmp_path),
    ):
        with pytest.raises(ValueError, match="file asks for the attention kernel"):
            load()
    # what the call asks for is the user's own choice
    for cls in (ARDMConfig, AutoConfig):
        asked = cls.from_pretrained(tmp_path, attn_implementation="eager")
        assert asked._attn_implementation == "eager"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernel", [None, "eager", "sdpa", "flex_attention"])
def test_a_file_may_choose_a_kernel_of_torch(tmp_path, name, kernel):
    with_settings(tmp_path, **{name: kernel})
    assert ARDMConfig.from_pretrained(tmp_path)._attn_implementation == kernel


def test_a_file_with_a_vocabulary_and_no_mask_id_is_refused(tmp_path):
    """Any other id would be hidden in its place, without a word."""
    content = ARDMConfig(vocab_size=32, mask_token_id=31).to_dict()
    del content["mask_token_id"]
    with pytest.raises(ValueError, match="vocab_size=32 and no mask_token_id"):
        ARDMConfig.from_dict(content)
    assert ARDMConfig.from_dict(content, mask_token_id=30).mask_token_id == 30
    assert ARDMConfig.from_dict({}).mask_token_id == 27
