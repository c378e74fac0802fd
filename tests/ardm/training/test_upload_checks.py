"""What would make an upload fail is found before the training."""

import pytest

from ardm.training import check_upload


def test_a_token_that_may_write_there_passes(hub):
    for name in ("me/model", "Me/model", "team/model"):
        check_upload(name)
    assert hub.requests == [("GET", "/api/whoami-v2")] * 3
    check_upload("somebody/model", create_pr=True)


@pytest.mark.parametrize("name", [None, ""])
def test_an_upload_needs_a_name(hub, name):
    with pytest.raises(ValueError, match="hub_model_id is missing; expected user/name"):
        check_upload(name)


@pytest.mark.parametrize("name", ["model", "me/a/b", "me/a b", "me/..", "me/", "/model", "me/é"])
def test_a_name_that_is_none_is_refused_before_the_hub_is_asked(hub, name):
    with pytest.raises(ValueError, match="is no repository's name; expected user/name") as refused:
        check_upload(name)
    assert hub.requests == [] and "\n" not in str(refused.value)


def test_without_a_token_it_is_said_how_to_log_in(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="hf auth login"):
        check_upload("me/model")
    assert hub.requests == []


def test_a_wrong_token_is_refused(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ValueError, match=r"does not accept the token \(401\); log in with"):
        check_upload("me/model")


def test_a_token_without_the_rights_is_refused(hub):
    with pytest.raises(ValueError, match=r"of me, who cannot upload to you/model; .* me/ or team/"):
        check_upload("you/model")
    hub.role = "read"
    with pytest.raises(ValueError, match="token 'mine' may only read"):
        check_upload("me/model")


def test_offline_is_refused(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        check_upload("me/model")


@pytest.mark.parametrize("status", [None, 429, 500])
def test_a_hub_that_cannot_be_asked_now_costs_no_training(hub, status):
    hub.fail("/api/whoami", status, method="GET")
    with pytest.warns(UserWarning, match="the Hub could not be asked about me/model: ") as told:
        check_upload("me/model")
    assert "\n" not in str(told[0].message)
