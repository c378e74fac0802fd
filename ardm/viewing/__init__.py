"""Generation to look at: a text's path in a terminal, as a page that plays it, as a picture."""

from .films import film, film_of
from .pages import plot_order, write_page
from .terminal import TerminalView
from .traces import Event, Trace

__all__ = ["Event", "TerminalView", "Trace", "film", "film_of", "plot_order", "write_page"]
