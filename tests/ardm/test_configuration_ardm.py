"""The configuration is typed, refuses what does not fit together, and survives JSON."""

import pytest
from huggingface_hub.errors import StrictDataclassError
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
        ({"hidden_act": "nope"}, "hidden_act is nope"),
        ({"rope_theta": 0}, "rope_theta is 0"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
        ({"vocab_size": "28"}, "vocab_size"),
        ({"hidden_size": 8.0}, "hidden_size"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        ARDMConfig(**(SMALL | change))


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
