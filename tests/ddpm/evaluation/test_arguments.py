"""The recipes' flags: every one is said once, and reaches what it names as a value."""

import argparse
import inspect

import pytest

from ddpm.data import load_images
from ddpm.evaluation import arguments, assembly
from ddpm.models.unet import UNetConfig


def parsed(*words):
    parser = argparse.ArgumentParser()
    arguments.add_image_arguments(parser)
    arguments.add_model_arguments(parser)
    arguments.add_evaluation_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


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
    used |= {"inception_weights", "max_eval_images", "model_name_or_path"}
    used |= {"push_to_hub", "hub_model_id"}
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


def test_flags_that_a_saved_model_overrules_are_not_told():
    words = ("--model_channels", "16", "--loss", "vlb", "--timestep_sampler", "loss_second_moment")
    told = arguments.run_flags(parsed(*words))
    assert told == vars(parsed(*words))
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
    arguments.add_sampling_arguments(parser)
    args = parser.parse_args([])
    assert (args.num_images, args.sampler, args.steps, args.clip) == (40, "ddpm", "250", "static")
    assert args.variance is None and args.class_name is None
    with pytest.raises(SystemExit):
        parser.parse_args(["--sampler", "euler"])
