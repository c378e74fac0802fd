"""push_to_hub: a folder of each kind goes up and comes down the same; and what goes wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch

from ardm.data.images import ImageFormat
from ardm.hub import CardFigures as TextCardFigures
from ardm.hub import (
    ImageCardFigures,
    add_adapters,
    load_adapters,
    load_folder,
    load_image_folder,
    save_folder,
    save_image_folder,
)
from ardm.hub.answer_cards import ADAPTERS_LOADING
from ddpm import GaussianDiffusion, NoisyClassifier, UNet, UNetConfig, linear_schedule
from ddpm import hub as ddpm_hub
from ddpm.hub import CardFigures, ClassifierFigures
from ddpm.models.configuration_classifier import ClassifierConfig

from ..command_line import recipe
from ..hub_stub import TOKEN, HubStub

NAME = "me/model"
ROOT = Path(__file__).parents[2]
SIZES = {"image_size": 8, "in_channels": 1, "model_channels": 8, "num_res_blocks": 1}
SIZES |= {"channel_mult": (1,), "attention_resolutions": (), "norm_num_groups": 4, "num_heads": 1}


def push(folder, *words):
    where = [] if "--dry_run" in words else ["--hub_model_id", NAME]
    recipe("push_to_hub").main(["--model_name_or_path", str(folder), *where, *words])


def content_of(folder):
    """Without hidden files, as that by which a training locks its folder."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# ------------------------------------------------------------------------- a folder of each kind
def text_folder(folder, trained):
    return trained


def pixels_folder(folder, trained):
    from ardm import ARDMConfig, ARDMForMaskedLM

    pixels = ImageFormat((1, 2, 2), 4, 0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"vocab_size": 5, "mask_token_id": 4, "max_position_embeddings": 4}
    model = ARDMForMaskedLM(ARDMConfig(**sizes, **ids, intermediate_size=8))
    figures = ImageCardFigures(shape=pixels.shape, num_values=pixels.num_values)
    save_image_folder(folder, model, figures)
    return folder


def diffusion_folder(folder, trained):
    diffusion = GaussianDiffusion(linear_schedule(50), loss="vlb")
    ddpm_hub.save_folder(folder, filled(UNet(UNetConfig(**SIZES))), diffusion, CardFigures())
    return folder


def classifier_folder(folder, trained):
    model = filled(NoisyClassifier(ClassifierConfig(**SIZES, num_classes=3)))
    ddpm_hub.save_classifier(folder, model, ClassifierFigures())
    return folder


def filled(model):
    """A fresh U-Net answers 0 to everything."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


KINDS = {
    "text": (text_folder, load_folder, "model, tokenizer = load_folder"),
    "pixels": (pixels_folder, load_image_folder, "model, pixels = load_image_folder"),
    "diffusion": (diffusion_folder, ddpm_hub.load_folder, "model, diffusion = load_folder"),
    "classifier": (
        classifier_folder,
        ddpm_hub.load_classifier,
        "classifier = load_classifier",
    ),
}


def outputs(loaded):
    """What the network says of one batch."""
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    with torch.no_grad():
        if hasattr(model.config, "image_size"):
            images = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
            return model(images, torch.tensor([3]))
        return model(torch.tensor([[0, 1, 2, 3]])).logits


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_down_is_what_went_up(kind, hub, tmp_path, model_folder, capsys):
    make, load, lines = KINDS[kind]
    folder = make(tmp_path / kind, model_folder)
    before = content_of(folder)
    push(folder)
    printed = capsys.readouterr().out
    assert f"Uploaded to {hub.address}/{NAME} (" in printed and f'{lines}("{NAME}")' in printed
    told = f'tokenizer = AutoTokenizer.from_pretrained("{NAME}", trust_remote_code=True)'
    assert (told in printed) == ("import AutoTokenizer\n" in printed) == (kind == "text")
    assert hub.commits(NAME) == 1 and hub.files(NAME) == content_of(folder)
    assert {name for name, old in before.items() if hub.files(NAME)[name] != old} <= {"README.md"}
    assert torch.equal(outputs(load(NAME)), outputs(load(folder)))
    down = huggingface_hub.snapshot_download(NAME, local_dir=tmp_path / "down")
    assert torch.equal(outputs(load(down)), outputs(load(folder)))


def test_adapters_come_down_as_they_went_up(hub, tmp_path, model_folder, capsys):
    pytest.importorskip("peft")
    model, tokenizer = load_folder(model_folder)
    adapted = add_adapters(model, 2)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    folder = tmp_path / "adapters"
    save_folder(folder, adapted, tokenizer, TextCardFigures(loading=ADAPTERS_LOADING))
    push(model_folder)  # whose place they take
    push(folder)
    printed = capsys.readouterr().out
    assert f'load_adapters("{NAME}", base="user/base")  # where others find {model_folder}' in (
        printed
    )
    assert hub.files(NAME).keys() & {"config.json", "model.safetensors"} == set()
    there = content_of(folder).items()
    assert {name: hub.files(NAME)[name] for name, _ in there} == dict(there)
    assert torch.equal(outputs(load_adapters(NAME)), outputs(load_adapters(folder)))
    assert not torch.equal(outputs(load_adapters(NAME)), outputs(load_folder(model_folder)))
    (folder / "README.md").unlink()
    push(folder)
    card = hub.files(NAME)["README.md"].decode()
    assert f'load_adapters("{NAME}")' in card and "load_folder" not in card


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_card_is_written_of_what_the_model_tells(
    kind, hub, tmp_path, model_folder, saved
):
    folder = model_folder if kind == "text" else KINDS[kind][0](tmp_path / kind, saved)
    (folder / "README.md").unlink()
    push(folder)
    card = hub.files(NAME)["README.md"].decode()
    assert f"# {NAME}\n" in card and f'"{NAME}"' in card and "path/to/this" not in card
    assert "license: unknown" in card and "library_name: transformers" in card
    assert "- Parameters: " in card
    assert (folder / "README.md").read_text() == card


def test_a_dry_run_lists_all_and_changes_nothing(hub, model_folder, capsys):
    (model_folder / "README.md").unlink()
    (model_folder / "logs").mkdir()
    (model_folder / "training_args.bin").write_bytes(b"pickle")
    before = content_of(model_folder)
    push(model_folder, "--dry_run")
    printed = capsys.readouterr().out
    for name in before.keys() - {"training_args.bin"}:
        assert f" {len(before[name]):,}  {name}\n" in printed
    assert "There is no README.md: one is written" in printed and "  README.md\n" in printed
    assert "README.md: its metadata has no license" in printed
    assert f"of {len(before)} files would be uploaded to user/name" in printed
    assert "not uploaded: .training.lock, logs/, training_args.bin." in printed
    assert content_of(model_folder) == before and hub.requests == []


def test_the_same_command_again_says_that_nothing_had_changed(hub, model_folder, capsys):
    push(model_folder)
    push(model_folder)
    assert "nothing had changed" in capsys.readouterr().out and hub.commits(NAME) == 1


def test_all_that_is_asked_arrives(hub, model_folder, capsys):
    push(model_folder, "--private", "--revision", "v2", "--commit_message", "mine")
    repository = hub.repositories[NAME]
    assert repository.private and repository.messages == ["mine"]
    assert hub.files(NAME) == {} and hub.files(NAME, "v2") == content_of(model_folder)
    push(model_folder, "--create_pr")
    assert f"{hub.address}/{NAME}/discussions/1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", b"damaged", "no model can be loaded from"),
        ("config.json", b"{", r"config\.json is damaged"),
        ("README.md", b"---\na: [\n---\n", r"README\.md: its metadata cannot be read"),
    ],
)
def test_what_is_not_whole_is_not_uploaded(hub, model_folder, file, content, said):
    (model_folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        push(model_folder)
    assert hub.repositories == {}


def test_without_a_name_or_a_folder_nothing_is_begun(hub, model_folder, tmp_path):
    with pytest.raises(ValueError, match="hub_model_id is missing"):
        recipe("push_to_hub").main(["--model_name_or_path", str(model_folder)])
    with pytest.raises(ValueError, match="there is no such folder"):
        push(tmp_path / "nowhere")
    assert hub.repositories == {}


# ------------------------------------------------------------------- programs of their own, slow
@pytest.fixture
def far(tmp_path):
    """A Hub, and what programs are told to find it."""
    stub = HubStub()
    stub.environment = os.environ | {
        "HF_ENDPOINT": stub.address,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "OMP_NUM_THREADS": "1",
    }
    yield stub
    stub.close()


def run(far, name, words, begun=lambda process: None):
    """Runs a recipe in a process of its own: exit code, what it printed, what it said besides."""
    command = [sys.executable, ROOT / "recipes" / f"{name}.py", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*map(str, command)], env=far.environment, **pipes) as process:
        begun(process)
        printed, errors = process.communicate(timeout=280)
    return process.returncode, printed, errors


@pytest.mark.slow
def test_a_killed_upload_goes_on_by_the_same_command(far, model_folder):
    words = ["--model_name_or_path", model_folder, "--hub_model_id", NAME]

    def kill_at_the_commit(process):
        def kill(method, path):
            if "/commit/" in path:
                far.on_request = lambda *_: None
                os.kill(process.pid, signal.SIGKILL)
                raise ConnectionAbortedError  # what it was saying is not heard

        far.on_request = kill

    code, _, _ = run(far, "push_to_hub", words, kill_at_the_commit)
    assert code == -signal.SIGKILL and far.files(NAME) == {} and far.stored
    far.requests.clear()
    code, printed, errors = run(far, "push_to_hub", words)
    assert code == 0, errors
    assert f"Uploaded to {far.address}/{NAME}" in printed
    assert "%|" not in errors and "HTTP Request" not in printed + errors  # no bars, no chatter
    assert far.files(NAME) == content_of(model_folder) and far.commits(NAME) == 1
    assert far.asked("/storage/", "PUT") == 0


@pytest.mark.slow
def test_a_training_whose_upload_fails_keeps_its_model(far, saved, small, tmp_path):
    far.fail("/commit/", 403, times=99)
    folder = tmp_path / "run"
    words = small(folder, "--train_file", saved.train_file, "--push_to_hub", "--hub_model_id", NAME)
    code, _, errors = run(far, "train_ardm", words)
    last = errors.strip().splitlines()[-1]
    assert code == 1 and "Traceback" not in errors
    assert last.startswith(f"error: the upload of {folder} to {NAME} failed: the token has no ri")
    load_folder(folder)
    far.failures.clear()
    again = last.partition("Try again with: python -m ardm push ")[2].split()
    code, _, errors = run(far, "push_to_hub", again)
    assert code == 0, errors
    there = content_of(folder).items()
    assert far.files(NAME) == {name: content for name, content in there if "/" not in name}
