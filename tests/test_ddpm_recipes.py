"""The image recipes run as a user runs them: small, from pixels to a folder that loads, samples and scores again."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel

import ddpm
from ddpm.data.pixels import to_uint8
from ddpm.hub.folder import load_class_names, load_folder

ROOT = Path(__file__).parent.parent
NETWORK = [
    "--model_channels",
    "8",
    "--num_res_blocks",
    "1",
    "--norm_num_groups",
    "4",
    "--num_head_channels",
    "8",
]
STEPS = [
    "--max_train_steps",
    "6",
    "--per_device_train_batch_size",
    "4",
    "--logging_steps",
    "2",
    "--eval_steps",
    "0",
]
OTHERS = [
    "--num_timesteps",
    "40",
    "--max_eval_images",
    "8",
    "--num_quality_images",
    "0",
    "--checkpointing_steps",
    "2",
]
SMALL = [*NETWORK, *STEPS, *OTHERS]


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def train(folder, *more):
    recipe("train_ddpm").main([*SMALL, "--output_dir", str(folder), *map(str, more)])


def draw(model, folder, *more):
    recipe("sample_ddpm").main(
        [
            "--model_name_or_path",
            str(model),
            "--output_dir",
            str(folder),
            "--steps",
            "5",
            *map(str, more),
        ]
    )
    return np.load(folder / "samples.npz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the digits, with a row of FID."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    train(folder, "--num_quality_images", 8, "--quality_steps", 3, "ddim5")
    return folder


def test_train_ddpm_leaves_a_model_with_its_card_and_pictures(trained, capsys):
    names = {path.name for path in trained.iterdir()}
    assert names >= {"config.json", "model.safetensors", "diffusion_config.json", "README.md", "samples.png",
                     "steps.png", "loss_curve.png"}  # fmt: skip
    model, diffusion = load_folder(trained)
    assert isinstance(AutoModel.from_pretrained(trained), ddpm.UNet) and not model.training
    assert (
        torch.equal(diffusion.betas, ddpm.cosine_schedule(40))
        and diffusion.variance == "learned_range"
    )
    assert load_class_names(trained) == [str(digit) for digit in range(10)]
    card = (trained / "README.md").read_text()
    assert (
        len(re.findall(r"\| (?:ddpm|ddim|heun|dpm_solver).* \| (?:3|ddim5) \| [\d.]+ \|", card))
        == 12
    )
    assert re.search(r"upper bound: \*\*[\d.]+ ± [\d.]+\*\*", card) and "8 a row" in card
    for name in ("samples.png", "steps.png", "loss_curve.png"):
        with Image.open(trained / name) as picture:
            assert min(picture.size) > 200


def test_the_saved_weights_are_the_averaged_ones(trained):
    saved = load_file(trained / "model.safetensors")
    last = trained / "checkpoints" / "step-00000006"
    raw, average = load_file(last / "model.safetensors"), load_file(last / "average.safetensors")
    names = [name for name, _ in load_folder(trained)[0].named_parameters()]
    assert all(torch.equal(saved[name], average[str(place)]) for place, name in enumerate(names))
    assert any(not torch.equal(saved[name], raw[name]) for name in raw)


def test_the_same_command_again_changes_nothing_and_more_steps_go_on(tmp_path):
    train(tmp_path / "run")
    before = load_file(tmp_path / "run" / "model.safetensors")
    train(tmp_path / "run")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "more", [[], ["--timestep_sampler", "loss_second_moment", "--loss", "vlb", "--dropout", "0.2"]]
)
def test_a_run_resumed_in_the_middle_ends_with_the_same_bits(tmp_path, more):
    for name in ("whole", "resumed"):
        train(
            tmp_path / name, *more, "--num_timesteps", 3
        )  # so few that every timestep's history fills
    (path,) = [
        path for path in (tmp_path / "resumed" / "checkpoints").iterdir() if path.name.endswith("4")
    ]
    train(tmp_path / "resumed", *more, "--num_timesteps", 3, "--resume_from_checkpoint", path)
    whole, resumed = (
        tmp_path / name / "checkpoints" / "step-00000006" for name in ("whole", "resumed")
    )
    for name in ("model.safetensors", "average.safetensors"):
        left, right = load_file(whole / name), load_file(resumed / name)
        assert all(torch.equal(left[key], right[key]) for key in left), name
    states = [json.loads((path / "run.json").read_text())["history"] for path in (whole, resumed)]
    assert states[0] == states[1]
    histories = [
        torch.load(path / "custom_checkpoint_0.pkl", weights_only=True) for path in (whole, resumed)
    ]
    assert histories[0].keys() == histories[1].keys() == ({"history", "counts"} if more else set())
    assert all(torch.equal(histories[0][name], histories[1][name]) for name in histories[0])


def test_sample_ddpm_draws_what_sample_does(trained, tmp_path, capsys):
    content = draw(
        trained,
        tmp_path / "drawn",
        "--num_images",
        7,
        "--batch_size",
        3,
        "--seed",
        5,
        "--sampler",
        "ddim",
    )
    assert content["arr_0"].shape == (7, 8, 8, 1) and content["arr_1"].tolist() == list(range(7))
    model, diffusion = load_folder(trained)
    expected = ddpm.sample(
        model, (7, 1, 8, 8), diffusion, sampler="ddim", steps=5, labels=torch.arange(7), seed=5
    )
    assert np.array_equal(content["arr_0"], to_uint8(expected).permute(0, 2, 3, 1).numpy())
    for number in range(7):
        with Image.open(tmp_path / "drawn" / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), content["arr_0"][number, :, :, 0])
    assert "7 images of" in capsys.readouterr().out and (tmp_path / "drawn" / "grid.png").is_file()


def test_sample_ddpm_mixes_no_images_of_another_run(trained, tmp_path):
    draw(trained, tmp_path, "--num_images", 3)
    draw(trained, tmp_path, "--num_images", 3, "--seed", 1)
    with pytest.raises(ValueError, match="1 images beyond 2"):
        draw(trained, tmp_path, "--num_images", 2)


def test_sample_ddpm_draws_one_class_and_a_trajectory(trained, tmp_path):
    content = draw(
        trained,
        tmp_path,
        "--num_images",
        4,
        "--class_name",
        7,
        "--variance",
        "fixed_large",
        "--trajectory",
    )
    assert content["arr_1"].tolist() == [7] * 4
    with Image.open(tmp_path / "trajectory.gif") as film:
        assert film.n_frames >= 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class_name", "x"], "class_name is 'x'"),
        (["--steps", "1"], "at least two"),
        (["--steps", "41"], "expected"),
        (["--num_images", "0"], "num_images"),
        (["--variance", "small"], "variance is 'small'"),
        (["--eta", "0.5"], "eta"),
        (["--model_name_or_path", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_sample_ddpm_names_what_is_wrong(trained, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        draw(trained, tmp_path, *words)
    assert not list(tmp_path.glob("*.png"))


def test_without_a_model_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="train_ddpm"):
        recipe("sample_ddpm").main([])


def test_a_folder_of_photographs_without_classes(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        size = (9 + number, 12, 3)
        Image.fromarray(generator.integers(256, size=size, dtype=np.uint8)).save(
            tmp_path / "photos" / f"{number}.png"
        )
    train(tmp_path / "run", "--train_dir", tmp_path / "photos", "--image_size", 8, "--random_flip")
    model, _ = load_folder(tmp_path / "run")
    assert model.config.num_classes is None and model.config.in_channels == 3
    assert draw(tmp_path / "run", tmp_path / "drawn", "--num_images", 2)["arr_0"].shape == (
        2,
        8,
        8,
        3,
    )


def test_classes_of_an_array_file(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(20) % 2)
    train(tmp_path / "run", "--train_file", tmp_path / "data.npz", "--prediction", "v_prediction", "--schedule",
          "cosine_zero_snr", "--min_snr_gamma", 5, "--num_quality_images", 6, "--quality_steps", 2)  # fmt: skip
    model, diffusion = load_folder(tmp_path / "run")
    assert (
        model.config.num_classes == 2
        and float(diffusion.betas[-1]) == 1
        and diffusion.min_snr_gamma == 5
    )


def test_a_saved_model_goes_on_learning(trained, tmp_path):
    train(tmp_path / "more", "--model_name_or_path", trained)
    first, second = (
        load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "more")
    )
    assert first.keys() == second.keys() and any(
        not torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image_size", "9", "--channel_mult", "1", "2"], "image_size"),
        (["--train_dir", "gone"], "gone"),
        (["--channels", "2"], "channels"),
        (["--num_timesteps", "1"], "num_timesteps"),
        (["--preset", "64x64_diffusion"], "64 pixels"),
        (["--norm_num_groups", "3"], "norm_num_groups"),
        (["--max_train_steps", "0"], "max_train_steps"),
        (["--schedule", "cosine_zero_snr"], "last beta is 1"),
        (
            [
                "--num_quality_images",
                "4",
                "--quality_steps",
                "5",
                "--inception_weights",
                "gone.pth",
            ],
            "gone.pth",
        ),
        (["--num_quality_images", "4", "--quality_steps", "1"], "at least two"),
        (["--num_quality_images", "-1", "--quality_steps", "5"], "num_images is -1"),
        (["--model_name_or_path", "./gone"], "gone"),
        (["--push_to_hub"], "hub_model_id"),
        (["--validation_fraction", "0.9"], "validation_fraction"),
    ],
)
def test_train_ddpm_names_what_is_wrong_before_it_trains(tmp_path, monkeypatch, words, message):
    trained = []
    module = recipe("train_ddpm")
    monkeypatch.setattr(module, "train", lambda *args, **kwargs: trained.append(1))
    with pytest.raises(ValueError, match=message):
        module.main([*SMALL, "--output_dir", str(tmp_path / "run"), *words])
    assert not trained


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_accelerate_reads_its_configurations(path):
    from accelerate.commands.config import load_config_from_file

    config = load_config_from_file(str(path))  # a field that it does not know is an error
    kinds = {"one_gpu": "NO", "several_gpus": "MULTI_GPU", "fsdp": "FSDP"}
    assert config.distributed_type.value == kinds[path.stem] and config.mixed_precision == "bf16"
    assert (config.num_processes == 1) == (path.stem == "one_gpu")


def test_configurations_that_are_named_are_there():
    texts = [
        ROOT / "ddpm" / "README.md",
        *(ROOT / "recipes").glob("*ddpm.py"),
        *(ROOT / "recipes").glob("*/*.yaml"),
    ]
    named = {
        name
        for text in texts
        for name in re.findall(r"recipes/accelerate/\w+\.yaml", text.read_text())
    }
    assert named and all((ROOT / name).is_file() for name in named)


def test_the_model_must_fit_the_images(trained, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((20, 16, 16, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="expected"):
        train(
            tmp_path / "run",
            "--model_name_or_path",
            trained,
            "--train_file",
            tmp_path / "images.npy",
        )


def launched(name, *words):
    environment = {
        k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    }
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        "--cpu",
        "--num_processes",
        "2",
    ]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [*launcher, ROOT / "recipes" / f"{name}.py", *words]
    done = subprocess.run(
        list(map(str, command)),
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
@pytest.mark.parametrize("timesteps", ["uniform", "loss_second_moment"])
def test_two_processes_train_and_score_as_one(tmp_path, timesteps):
    common = [
        *SMALL,
        "--num_quality_images",
        "9",
        "--quality_steps",
        "3",
        "--timestep_sampler",
        timesteps,
    ]
    common += ["--num_timesteps", "3", "--loss", "hybrid"]
    launched(
        "train_ddpm",
        *common,
        "--per_device_train_batch_size",
        "2",
        "--output_dir",
        tmp_path / "two",
    )
    recipe("train_ddpm").main([*common, "--output_dir", str(tmp_path / "one")])
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=2e-5)
    states = [tmp_path / name / "checkpoints" / "step-00000006" for name in ("one", "two")]
    assert (states[1] / "random_states_1.pkl").is_file()  # there were two
    histories = [torch.load(path / "custom_checkpoint_0.pkl", weights_only=True) for path in states]
    if timesteps != "uniform":
        assert (
            torch.equal(histories[0]["counts"], histories[1]["counts"])
            and int(histories[0]["counts"].sum()) == 24
        )
        torch.testing.assert_close(
            histories[0]["history"], histories[1]["history"], rtol=1e-3, atol=1e-4
        )
    row = r"\| (?:dd|heun|dpm)[^|]*\| 3 \| ([\d.e-]+) \|"  # of the table of FID
    figures = [
        re.findall(row, (tmp_path / name / "README.md").read_text()) for name in ("one", "two")
    ]
    assert len(figures[0]) == len(figures[1]) == 6
    assert [float(each) for each in figures[0]] == pytest.approx(
        [float(each) for each in figures[1]], rel=0.02
    )


@pytest.mark.slow
def test_two_processes_draw_the_images_of_one(trained, tmp_path):
    words = [
        "--model_name_or_path",
        trained,
        "--steps",
        "5",
        "--num_images",
        "7",
        "--batch_size",
        "2",
    ]
    launched("sample_ddpm", *words, "--output_dir", tmp_path / "two")
    one, two = (
        draw(trained, tmp_path / "one", *words[4:]),
        np.load(tmp_path / "two" / "samples.npz"),
    )
    assert two["arr_1"].tolist() == one["arr_1"].tolist()
    difference = np.abs(one["arr_0"].astype(int) - two["arr_0"].astype(int))
    assert difference.max() <= 1  # other batches round differently
    assert len(list((tmp_path / "two").glob("0*.png"))) == 7
