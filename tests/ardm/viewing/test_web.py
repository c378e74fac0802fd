"""A page's mistakes are lines of text; without gradio it is said what to install."""

import os
import sys

import pytest

from ardm.viewing import web


def test_it_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match="pip install gradio"):
        web.import_gradio()


@pytest.mark.slow
def test_a_mistake_becomes_a_line_that_is_text(monkeypatch):
    gradio = pytest.importorskip("gradio", reason="gradio is not installed")
    with pytest.raises(gradio.Error) as error, web.mistakes_told():
        raise ValueError("got <b>; expected a")
    assert error.value.message == "got &lt;b&gt;; expected a"
    assert not error.value.print_exception
    with pytest.raises(ZeroDivisionError), web.mistakes_told():
        1 / 0  # noqa: B018
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
