"""What the Hub said, in one line."""

import pytest

from ardm.training.hub_errors import hub_cause, hub_status, is_transient
from ardm.training.model_folders import find_model

from ...hub_stub import Repository


@pytest.fixture
def model(hub):
    hub.repositories["you/model"] = Repository()
    hub.repositories["you/model"].branches["main"][-1]["config.json"] = b"{}"
    return "you/model"


def refused(name):
    """What is said of a model that cannot be found."""
    with pytest.raises(ValueError) as error:
        find_model(name)
    said = str(error.value)
    assert "\n" not in said and "http" not in said.replace("http://127.0.0.1", "")
    assert said.startswith(f"no model can be loaded from '{name}': there is no such folder")
    return said


def test_a_model_that_is_there_is_found(hub, model):
    assert find_model(model) == model


def test_what_is_not_there(hub, model):
    assert "there is no such repository (404), or it is private" in refused("you/mistyped")
    del hub.repositories[model].branches["main"][-1]["config.json"]
    assert "the repository has no config.json (404)" in refused(model)


def test_what_may_not_be_seen(hub, model, monkeypatch):
    hub.repositories[model].gated = True
    assert "the repository is gated (403): ask for access" in refused(model)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the Hub does not accept the token (401); log in with `hf auth login`" in refused(model)


def test_a_private_one_asks_to_log_in(hub, model, monkeypatch):
    hub.repositories[model].private = True
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert "no such repository (401), or it is private: if so, log in" in refused(model)


def test_a_hub_that_is_not_there(hub, model, monkeypatch):
    hub.fail("/resolve/", 500, method="HEAD", times=9)
    assert "the Hub failed (500)" in refused(model)
    hub.failures.clear()
    hub.fail("/resolve/", None, method="HEAD", times=9)
    assert "no connection to http://127.0.0.1" in refused(model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set, so that the Hub is not asked" in refused(model)


def test_errors_that_are_not_the_hubs(hub):
    for error in (OSError("disk"), KeyError("a"), ValueError()):
        assert hub_cause(error) is None and hub_status(error) is None and not is_transient(error)


def test_what_may_pass_is_what_was_not_refused(hub):
    from huggingface_hub.utils import get_session, hf_raise_for_status

    def asked(status):
        hub.fail("/api/whoami", status, method="GET")
        try:
            hf_raise_for_status(get_session().get(f"{hub.address}/api/whoami-v2"))
        except Exception as error:
            return error

    passing = {status: is_transient(asked(status)) for status in (400, 401, 403, 404, 413, 422)}
    assert not any(passing.values())
    assert all(is_transient(asked(status)) for status in (408, 429, 500, 502, 503, 504, None))
    wrapped = RuntimeError("while uploading a file")
    wrapped.__cause__ = asked(503)
    assert is_transient(wrapped) and hub_status(wrapped) == 503
    assert hub_cause(wrapped) == "the Hub failed (503): as the test wants"
