"""The recipes' flags: every one is said once, and reaches what it names as a value."""

import argparse
import inspect

import pytest

from ddpm.data import load_images
from ddpm.evaluation import arguments, assembly, sampling_arguments
from ddpm.models import UNet, UNetConfig


def parser_of_training():
    parser = argparse.ArgumentParser()
    arguments.add_image_arguments(parser)
    arguments.add_model_arguments(parser)
    arguments.add_evaluation_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def parsed(*words):
    return parser_of_training().parse_args(words)


def names_of(function):
    return set(inspect.signature(function).parameters)


def test_settings_are_what_the_functions_take():
    args = parsed()
    assert set(arguments.image_settings(args)) == names_of(load_images)
    assert set(arguments.quality_settings(args)) < names_of(assembly.new_sample_evaluation)
    assert set(arguments.objective_settings(args)) < names_of(assembly.new_objective)
    others = set(arguments.network_settings(args)) - names_of(assembly.new_network)
    assert others <= set(UNetConfig().to_dict())
    assembly.new_diffusion(**arguments.process_settings(args))


def test_no_flag_is_lost_between_the_functions():
    args = parsed()
    said = [
        arguments.image_settings(args),
        arguments.network_settings(args),
        arguments.process_settings(args),
        arguments.objective_settings(args),
    ]
    used = {name for values in said for name in values} | {"num_quality_images", "quality_steps"}
    used |= {"inception_weights", "max_eval_images", "model_name_or_path", "quality_samplers"}
    used |= {"push_to_hub", "hub_model_id", "license", "language"}
    used |= {"num_heads"}  # heads are by channels unless numbered
    assert used - {"learn_sigma", "null_class"} == set(vars(args))


def test_settings_leave_the_flags_alone():
    args = parsed("--channel_mult", "1", "2", "--train_dir", "photos")
    before = repr(args)
    for read in (
        arguments.image_settings,
        arguments.network_settings,
        arguments.process_settings,
        arguments.objective_settings,
        arguments.quality_settings,
        arguments.run_flags,
        arguments.data_name,
    ):
        read(args)
    assert repr(args) == before


@pytest.mark.parametrize(
    ("variance", "learned"),
    [("learned", True), ("learned_range", True), ("fixed_small", False), ("fixed_large", False)],
)
def test_a_learned_variance_needs_an_output(variance, learned):
    settings = arguments.network_settings(parsed("--variance", variance))
    assert settings["learn_sigma"] is learned


def test_dropped_labels_need_a_null_class():
    for share, needed in (("0", False), ("0.1", True)):
        args = parsed("--label_dropout", share)
        assert arguments.network_settings(args)["null_class"] is needed
        assert arguments.objective_settings(args)["label_dropout"] == float(share)


SIZES = [
    ("--num_heads 2", {"num_heads": 2, "num_head_channels": None}),
    ("", {"num_head_channels": 32, "attention_order": "new", "use_scale_shift_norm": True}),
    ("--num_head_channels 8", {"num_head_channels": 8}),
    ("--attention_order legacy", {"attention_order": "legacy"}),
    ("--no-use_scale_shift_norm", {"use_scale_shift_norm": False}),
    ("--use_scale_shift_norm --resblock_updown", {"resblock_updown": True}),
    ("--no-resblock_updown", {"resblock_updown": False, "conv_resample": True}),
    ("--no-resblock_updown --no-conv_resample", {"resblock_updown": False, "conv_resample": False}),
]


@pytest.mark.parametrize(("words", "fields"), SIZES)
def test_sizes_of_the_network_reach_its_configuration_and_come_back(words, fields, tmp_path):
    args = arguments.parse(parser_of_training(), words.split())
    model = assembly.new_network(8, 1, None, **arguments.network_settings(args))
    model.save_pretrained(tmp_path)
    for config in (model.config, UNet.from_pretrained(tmp_path).config):
        assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize("flag", ["num_heads 2", "attention_order new", "no-conv_resample"])
@pytest.mark.parametrize("source", ["preset 64x64_diffusion", "model_name_or_path saved"])
def test_sizes_beside_those_of_a_model_are_refused(flag, source):
    words = f"--{source} --{flag}".split()
    name = flag.split()[0].removeprefix("no-")
    with pytest.raises(ValueError, match=f"got --{name} and a {source.split()[0]}, which has its"):
        arguments.parse(parser_of_training(), words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num_heads 2 --num_head_channels 32", "got --num_head_channels and a num_heads"),
        ("--conv_resample", "got --conv_resample and residual blocks .* --no-resblock_updown"),
        ("--no-conv_resample --resblock_updown", "got --conv_resample and residual blocks"),
    ],
)
def test_a_size_without_effect_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        arguments.parse(parser_of_training(), words.split())


def test_heads_by_number_are_told_by_number():
    told = arguments.run_flags(parsed("--num_heads", "2"))
    assert told["num_heads"] == 2 and "num_head_channels" not in told


def test_flags_that_a_saved_model_overrules_are_not_told():
    words = ("--model_channels", "16", "--loss", "vlb", "--timestep_sampler", "loss_second_moment")
    told = arguments.run_flags(parsed(*words))
    assert told.items() < vars(parsed(*words)).items()
    assert set(vars(parsed(*words))) - set(told) == {"conv_resample"}  # of no resampling layer
    loaded = parsed(*words, "--model_name_or_path", "saved")
    unused = {"model_channels", "schedule", "prediction", "variance", "loss", "num_timesteps"}
    told = arguments.run_flags(loaded)
    assert not unused & set(told) and told["timestep_sampler"] == "loss_second_moment"
    assert set(vars(loaded)) - set(told) == unused | {
        "min_snr_gamma",
        "rescale_timesteps",
        "preset",
        "channel_mult",
        "num_res_blocks",
        "attention_resolutions",
        "num_head_channels",
        "num_heads",
        "attention_order",
        "use_scale_shift_norm",
        "resblock_updown",
        "rescale_residual",
        "conv_resample",
        "norm_num_groups",
        "dropout",
    }


def test_data_is_called_by_its_name_not_its_place(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "pixels.npz").touch()
    assert arguments.data_name(parsed()) == "scikit-learn digits"
    assert arguments.data_name(parsed("--dataset_name", "user/name")) == "user/name"
    for flag, name in (("dataset_name", "photos"), ("train_dir", "photos/")):
        assert arguments.data_name(parsed(f"--{flag}", f"{tmp_path}/{name}")) == "photos"
    assert arguments.data_name(parsed("--train_file", f"{tmp_path}/pixels.npz")) == "pixels.npz"


def test_flags_of_sampling():
    parser = argparse.ArgumentParser()
    sampling_arguments.add_sampling_arguments(parser)
    args = parser.parse_args([])
    assert (args.num_images, args.sampler, args.steps, args.clip) == (40, "ddpm", "250", "static")
    assert args.variance is None and args.class_name is None
    with pytest.raises(SystemExit):
        parser.parse_args(["--sampler", "euler"])
