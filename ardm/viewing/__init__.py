"""Generation to look at: a text's path in a terminal, as a page that plays it, as a picture."""

from .films import film, film_of
from .fragments import STYLE, replay_fragment, text_fragment
from .live import Filling, watch_filling
from .pages import page, plot_order, write_page
from .recording import Recorder
from .terminal import TerminalView
from .traces import Event, Trace

__all__ = [
    "STYLE",
    "Event",
    "Filling",
    "Recorder",
    "TerminalView",
    "Trace",
    "film",
    "film_of",
    "page",
    "plot_order",
    "replay_fragment",
    "text_fragment",
    "watch_filling",
    "write_page",
]
