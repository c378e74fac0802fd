"""The upload, against a Hub on this machine: what arrives, and what goes wrong on the way."""

import hashlib

import pytest

from ardm.training import upload_folder

FILES = {
    "config.json": b'{"model_type": "any"}',
    "generation_config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 40,
    "modeling_any.py": b"import torch\n",
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "samples.png": b"\x89PNG" + b"p" * 600,
    "tokenizer.json": '{"a": "ü"}'.encode(),
    "custom_generate/generate.py": b"def generate(): ...\n",
}
STAY = ["checkpoints/step-10/model.safetensors", "logs/id", ".hidden.json", "notes.txt", "a.tmp"]
NAME = "me/model"
ADVICE = "Nothing is lost. Try again with: python -m ardm push --model_name_or_path"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "a model"
    for name, content in (FILES | dict.fromkeys(STAY, b"private")).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def content_of(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_one_commit_has_the_models_files_byte_for_byte(hub, folder):
    done = upload_folder(folder, NAME)
    assert hub.files(NAME) == FILES
    assert hub.commits(NAME) == 1
    assert str(done) == f"{hub.address}/{NAME} (8 files, 0.0 MB)"
    assert hub.repositories[NAME].messages == ["Upload a model of 8 files"]


def test_the_same_again_changes_nothing_and_says_so(hub, folder):
    upload_folder(folder, NAME)
    sent = hub.asked("/storage/", "PUT")
    again = upload_folder(folder, NAME)
    assert hub.commits(NAME) == 1 and not again.changed
    assert str(again).endswith("(8 files, 0.0 MB; nothing had changed)")
    assert hub.asked("/storage/", "PUT") == sent == 2


def test_a_changed_file_is_all_that_is_sent_again(hub, folder):
    upload_folder(folder, NAME)
    sent = hub.asked("/storage/", "PUT")
    (folder / "samples.png").write_bytes(b"another")
    assert upload_folder(folder, NAME).changed
    assert hub.files(NAME) == FILES | {"samples.png": b"another"}
    assert hub.asked("/storage/", "PUT") == sent + 1


def test_another_model_there_is_replaced_and_what_stays_is_told(hub, folder):
    upload_folder(folder, NAME)
    head = hub.repositories[NAME].branches["main"][-1]
    head |= {"model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}"}
    head |= {"images.json": b"{}", "theirs.md": b"kept", "config.json": b"older"}
    done = upload_folder(folder, NAME)
    assert hub.files(NAME) == FILES | {"theirs.md": b"kept"}
    assert done.removed == (
        "images.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
    )
    assert done.kept == ("theirs.md",)
    assert "Removed there, of the model before: images.json, model-0" in str(done)
    assert "There beside it, from before: theirs.md." in str(done)
    assert hub.commits(NAME) == 2  # removed and added in one


def test_a_gitignore_there_keeps_nothing_out(hub, folder):
    upload_folder(folder, NAME)
    ignore = b"*.png\n*.safetensors\n*.md\n"
    hub.repositories[NAME].branches["main"] = [{".gitignore": ignore}]
    assert upload_folder(folder, NAME).kept == (".gitignore",)
    assert hub.files(NAME) == FILES | {".gitignore": ignore}


# ---------------------------------------------------------------------------------- where to
@pytest.mark.parametrize("private", [None, True, False])
def test_a_new_repository_is_as_private_as_asked(hub, folder, private):
    upload_folder(folder, NAME, private)
    assert hub.repositories[NAME].private is bool(private)


def test_a_private_upload_to_a_public_repository_is_refused(hub, folder):
    upload_folder(folder, NAME)
    with pytest.raises(RuntimeError, match="exists and is public, expected a private one"):
        upload_folder(folder, NAME, private=True)
    assert hub.commits(NAME) == 1


def test_a_branch_is_made_and_written_to(hub, folder):
    done = upload_folder(folder, NAME, revision="v2", commit_message="second")
    assert hub.files(NAME, "v2") == FILES and hub.files(NAME) == {}
    assert done.address == f"{hub.address}/{NAME}/tree/v2"
    assert hub.repositories[NAME].messages == ["second"]
    assert not upload_folder(folder, NAME, revision="v2").changed


def test_a_pull_request_leaves_main_alone(hub, folder):
    upload_folder(folder, NAME)
    hub.repositories["other/model"] = hub.repositories.pop(NAME)
    hub.repositories["other/model"].branches["main"] = [{}]
    done = upload_folder(folder, "other/model", create_pr=True)
    assert done.address == f"{hub.address}/other/model/discussions/1"
    assert hub.files("other/model") == {}
    assert hub.files("other/model", "refs/pr/1") == FILES
    with pytest.raises(ValueError, match="expected one of them"):
        upload_folder(folder, NAME, create_pr=True, revision="v2")


# ------------------------------------------------------------------------- what goes wrong
STEPS = {  # of an upload to a new repository, by the path that is asked
    "the repository": "/api/repos/create",
    "the card": "/api/validate-yaml",
    "which files are large": "/preupload/",
    "where they go": "/objects/batch",
    "sending": "/storage/",
    "verifying": "/verify",
    "the commit": "/commit/",
}


def method_of(path):
    return "PUT" if path == "/storage/" else "POST"


@pytest.mark.parametrize("path", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("status", [503, None])
def test_a_failure_that_passes_costs_nothing(hub, folder, path, status):
    hub.fail(path, status, method=method_of(path))
    upload_folder(folder, NAME)
    assert hub.files(NAME) == FILES and hub.commits(NAME) == 1
    assert len(hub.waits) == 1 and hub.waits[0] <= 2


@pytest.mark.parametrize("path", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("status", [500, 403, None])
def test_a_failure_that_stays_is_one_line_and_the_next_try_goes_on(hub, folder, path, status):
    hub.fail(path, status, method=method_of(path), times=1000)
    before = content_of(folder)
    with pytest.raises(RuntimeError) as failed:
        upload_folder(folder, NAME)
    said = str(failed.value)
    meaning = {500: r"the Hub failed (500)", 403: "no right to do this (403)", None: "connection"}
    assert meaning[status] in said and "\n" not in said
    assert f"{ADVICE} '{folder}' --hub_model_id {NAME}" in said
    assert content_of(folder) == before
    if NAME in hub.repositories:
        assert hub.files(NAME) == {}  # all or nothing
    stored = dict(hub.stored)
    hub.failures.clear()
    hub.requests.clear()
    upload_folder(folder, NAME)
    assert hub.files(NAME) == FILES and hub.commits(NAME) == 1
    assert hub.asked("/storage/", "PUT") == 2 - len(stored)  # what is there is not sent again


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, folder):
    hub.fail("/commit/", None, after=True)
    upload_folder(folder, NAME)
    assert hub.commits(NAME) == 1 and hub.files(NAME) == FILES


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(hub, folder):
    hub.fail("/commit/", None, after=True)
    with pytest.raises(RuntimeError, match="--create_pr"):
        upload_folder(folder, NAME, create_pr=True)
    assert [*hub.repositories[NAME].branches] == ["main", "refs/pr/1"]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 2),
        ({"Retry-After": "30"}, 31),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "1"}, 56),
    ],
)
def test_the_hubs_own_wait_is_kept_when_it_has_been_asked_too_often(hub, folder, headers, wait):
    hub.fail("/commit/", 429, headers=headers)
    upload_folder(folder, NAME)
    assert hub.files(NAME) == FILES and hub.waits == [wait]


def test_a_wait_of_hours_is_left_to_the_user(hub, folder):
    hub.fail("/commit/", 429, headers={"Retry-After": "7200"})
    with pytest.raises(RuntimeError, match=r"too many requests \(429\); wait some minutes"):
        upload_folder(folder, NAME)
    assert hub.waits == []


def test_a_card_that_the_hub_refuses_stops_before_anything_is_sent(hub, folder):
    (folder / "README.md").write_text("---\nlicense: none-such\n---\n")
    with pytest.raises(RuntimeError, match=r"metadata in README\.md\. .*license"):
        upload_folder(folder, NAME)
    assert hub.asked("/storage/") == 0


def test_ctrl_c_says_how_to_go_on(hub, folder, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", stop)
    with pytest.raises(KeyboardInterrupt, match=f"the upload to {NAME}. {ADVICE}"):
        upload_folder(folder, NAME)


def test_the_command_to_try_again_has_all_that_was_asked(hub, folder):
    hub.fail("/commit/", 400)
    asked = {"private": True, "revision": "v 2", "commit_message": "it's new"}
    with pytest.raises(RuntimeError, match=r"the Hub refused \(400\): as the test wants") as failed:
        upload_folder(folder, NAME, **asked)
    words = f"--hub_model_id {NAME} --private --revision 'v 2' --commit_message 'it'\"'\"'s new'"
    assert str(failed.value).endswith(words)


def test_a_token_that_is_no_longer_valid_says_how_to_go_on(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_gone")
    with pytest.raises(RuntimeError, match=r"does not accept the token \(401\).*ardm push"):
        upload_folder(folder, NAME)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(RuntimeError, match=r"no Hub token found; log in.*ardm push"):
        upload_folder(folder, NAME)


def test_what_is_no_model_or_name_is_refused_before_the_hub_is_asked(hub, folder, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json"):
        upload_folder(tmp_path, NAME)
    with pytest.raises(ValueError, match="no repository's name"):
        upload_folder(folder, "model")
    assert hub.requests == []


def test_a_large_file_is_stored_under_its_own_name(hub, folder):
    upload_folder(folder, NAME)
    weights = FILES["model.safetensors"]
    assert hub.stored[hashlib.sha256(weights).hexdigest()] == weights
