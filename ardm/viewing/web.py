"""Web: what a page made with gradio needs from us. It asks nothing of anyone but its own server.

gradio counts its starts, asks for newer versions of itself and takes fonts from elsewhere unless it
is told not to. It is imported here alone, and only when a page is made.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from .fragments import STYLE

# what a canvas is before anything is on it
EMPTY = '<div class="ardm"><div class="ardm-text"></div></div>'
_STYLE = """
.gradio-container { max-width: 76rem !important; margin: 0 auto !important; }
#canvas, #canvas > div { padding: 0 !important; }
"""
_FONT = ("system-ui", "sans-serif")
_FIXED_FONT = ("ui-monospace", "monospace")


def import_gradio() -> Any:
    """The library, told to ask nobody anything.

    Returns:
        The module.

    Raises:
        ImportError: if it is not installed.
    """
    # read when it is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise ImportError("a page needs gradio; install it with: pip install gradio") from error
    return gradio


@contextmanager
def mistakes_told() -> Iterator[None]:
    """A visitor's mistake, a ValueError, becomes a line on the page, and nothing in the log.

    Raises:
        Error: gradio's own, which the page shows.
    """
    gradio = import_gradio()
    try:
        yield
    except ValueError as error:
        # it is shown as HTML, and may quote what was typed
        raise gradio.Error(escape(str(error)), print_exception=False) from error


def warn(text: str) -> None:
    """Shows a line on the page of the visitor who is being served.

    Args:
        text: plain text.
    """
    import_gradio().Warning(escape(text))


def model_named(name: str | None, variable: str, folder: str) -> str | None:
    """Which model a page shows.

    Args:
        name: that was asked for; None = the one that the environment names.
        variable: that names it there; not set = the model in the folder.
        folder: where one usually is. Without a config.json it is left out, which is printed.

    Returns:
        A folder, or user/name on the Hub; None = there is no model.
    """
    if found := name or os.environ.get(variable):
        return found
    if Path(folder, "config.json").is_file():
        return folder
    if Path(folder).exists():
        print(f"{folder} is left out: it has no config.json (yet), as during a training.")
    return None


def heading(name: str, model: Any) -> None:
    """Says on the page which model it is.

    Args:
        name: of the model.
        model: a network of torch.
    """
    size = sum(parameter.numel() for parameter in model.parameters())
    import_gradio().Markdown(f"**{name}**, {size:,} parameters, on {model.device}")


def serve(page: Any, **where: Any) -> None:
    """Serves a page until Ctrl-C, with as many visitors as there are: each waits for a turn.

    Args:
        page: a `gradio.Blocks`.
        **where: arguments of its `launch`: server_name, server_port, share.

    Raises:
        OSError: if the port is taken.
    """
    gradio = import_gradio()
    fonts = {"font": _FONT, "font_mono": _FIXED_FONT}  # of the visitor's own system
    theme = gradio.themes.Default(primary_hue="sky", neutral_hue="gray", **fonts)
    where |= {"ssr_mode": False, "footer_links": [], "quiet": True, "prevent_thread_lock": True}
    page.launch(theme=theme, css=STYLE + _STYLE, **where)
    print(f"The page is at {page.local_url} until Ctrl-C.", flush=True)
    page.block_thread()
