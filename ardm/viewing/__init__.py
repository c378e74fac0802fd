"""Generation to look at: the path of a text, live in a terminal, as a page that plays it, as a
picture of its order.
"""

from .pages import plot_order, write_page
from .terminal import TerminalView
from .traces import Event, Trace

__all__ = ["Event", "TerminalView", "Trace", "plot_order", "write_page"]
