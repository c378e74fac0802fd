"""What of a folder is part of a model, and what stays."""

import pytest

from ardm.training.upload_files import files_to_upload, outdated

GO = [
    "LICENSE",
    "README.md",
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "custom_generate/generate.py",
    "custom_generate/requirements.txt",
    "diffusion_config.json",
    "generation_config.json",
    "images.json",
    "loss_curve.png",
    "merges.txt",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "modeling_ardm.py",
    "order.gif",
    "per_step_losses.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
]
STAY = [
    ".gitattributes",
    ".training.lock",
    ".writing-12-model/model.safetensors",
    "__pycache__/modeling_ardm.cpython-311.pyc",
    "ardm/events.out.tfevents.1",
    "checkpoint-10/model.safetensors",
    "checkpoints/step-10/run.json",
    "custom_generate/.secret.py",
    "eval_results.json",
    "events.out.tfevents.1",
    "logs/a/b.json",
    "model.safetensors.tmp",
    "my texts.txt",
    "optimizer.pt",
    "pytorch_model.bin",
    "trainer_state.json",
    "training_args.bin",
    "wandb/run.json",
]


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(GO + STAY):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    return tmp_path


def test_the_models_files_go_and_all_others_are_named(folder):
    files = files_to_upload(folder)
    assert files.sizes == {name: number for number, name in enumerate(GO)}
    assert [*files.sizes] == sorted(GO)
    assert files.num_bytes == sum(range(len(GO)))
    tops = {name.partition("/")[0] + "/" * ("/" in name) for name in STAY}
    assert {*files.left} == tops - {"custom_generate/"}


def test_a_link_is_followed_and_one_to_nothing_stays(folder, tmp_path):
    (folder / "model.safetensors").symlink_to(folder / "merges.txt")
    (folder / "gone.json").symlink_to(folder / "nowhere")
    files = files_to_upload(folder)
    assert files.sizes["model.safetensors"] == files.sizes["merges.txt"]
    assert "gone.json" in files.left


def test_a_folder_without_a_model_is_refused(folder):
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no weights; expected \*\.safetensors"):
        files_to_upload(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config\.json and no adapter_config\.json"):
        files_to_upload(folder)
    with pytest.raises(ValueError, match="there is no folder"):
        files_to_upload(folder / "nowhere")


def test_adapters_have_settings_of_their_own(tmp_path):
    for name in ("README.md", "adapter_config.json", "tokenizer.json"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"has no weights; .* beside adapter_config\.json"):
        files_to_upload(tmp_path)
    (tmp_path / "adapter_model.safetensors").touch()
    assert {*files_to_upload(tmp_path).sizes} == {path.name for path in tmp_path.iterdir()}
    # a whole model that was there would be loaded in their place, and the other way round
    whole = {"config.json", "generation_config.json", "model.safetensors"}
    adapters = {"adapter_config.json", "adapter_model.safetensors"}
    assert outdated(whole, adapters) == sorted(whole)
    assert outdated(adapters, whole) == sorted(adapters)


def test_of_another_model_only_what_loading_takes_is_outdated():
    kept = {"results.json", "notes.md", "old.png", ".gitattributes", "sub/model.safetensors"}
    loaded = {"model-00001-of-00009.safetensors", "adapter_config.json", "pytorch_model.bin"}
    assert outdated(kept | loaded | {"config.json"}, {"config.json"}) == sorted(loaded)
    assert outdated(loaded, loaded) == []
