"""Fragments: a trace as a piece of HTML, for a page of somebody else's.

Each token is coloured by the probability with which it was drawn, and tells it when it is pointed
at. The text is not trusted: it is escaped. No script; what it looks like is `STYLE`, once a page.
"""

import math
from html import escape

from .colours import CONFIDENCE, colour, ink
from .pages import page
from .traces import Event, Pieces, Trace

HIDDEN = "·"
_SCALE = f"linear-gradient(90deg, {', '.join(CONFIDENCE)})"

STYLE = """
.ardm { --faint: #63666b; --line: #d9dad7; --tip: #1b1c1e; --tip-ink: #fff; }
.dark .ardm { --faint: #9a9da3; --line: #3b3f45; --tip: #f0f0ee; --tip-ink: #141517; }
.ardm-text { font: 17px/1.85 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1.1rem; min-height: 4.2rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.ardm-text.grid { word-break: break-all; }
.ardm-text > span { position: relative; border-radius: 3px; padding: .16em 0; cursor: default; }
.ardm-text .given { font-weight: 700; }
.ardm-text .hidden { color: var(--faint); }
.ardm-text .back { color: #d9534f; font-weight: 700; }
.ardm-text .now { outline: 2px solid currentColor; outline-offset: -2px; }
.ardm-text .again { text-decoration: underline dotted 2px; text-underline-offset: 3px; }
.ardm-text > span[data-tip]:hover { box-shadow: 0 0 0 2px var(--tip); z-index: 8; }
.ardm-text > span[data-tip]:hover::after { content: attr(data-tip); position: absolute; z-index: 9;
  left: 50%; top: calc(100% + 5px); transform: translateX(-50%); pointer-events: none;
  width: max-content; max-width: 24rem; padding: .45rem .65rem; border-radius: 7px;
  background: var(--tip); color: var(--tip-ink); font: 13px/1.45 system-ui, sans-serif;
  text-align: left; white-space: pre-wrap; }
.ardm-note { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .5rem .1rem 0;
  color: var(--faint); font-size: 14px; font-variant-numeric: tabular-nums; }
.ardm-replay { width: 100%; height: 30rem; border: 1px solid #8884; border-radius: 10px; }
.ardm-scale { display: inline-block; width: 7rem; height: .75rem; border-radius: 3px;
  margin: 0 .4rem -.05rem; background: SCALE; }
""".replace("SCALE", _SCALE)


def text_fragment(trace: Trace, *, running: bool = False) -> str:
    """The canvas after the passes so far: its tokens, and below them counts and the scale.

    Args:
        trace: what to show.
        running: whether it is still being generated: the newest tokens are then outlined.

    Returns:
        HTML in a `div` of class "ardm", which [`STYLE`] is for.
    """
    lives = _lives(trace)
    tokens = trace.last_frame
    newest = trace.num_steps - 1 if running else -1
    spans = [
        _span(trace.pieces, token, events, newest)
        for token, events in zip(tokens, lives, strict=True)
    ]
    # so that nothing moves as long as tokens are characters
    shown = [trace.pieces[token] for token in tokens if token is not None]
    layout = "ardm-text grid" if all(len(piece) == 1 for piece in shown) else "ardm-text"
    parts = "".join(f"<span>{part}</span>" for part in _notes(trace, lives, running))
    text = f'<div class="{layout}">{"".join(spans)}</div>'
    return f'<div class="ardm">{text}<div class="ardm-note">{parts}</div></div>'


def replay_fragment(trace: Trace, caption: str = "") -> str:
    """The page that plays a trace, within another page.

    Args:
        trace: what to show.
        caption: a line below its title, such as the settings.

    Returns:
        HTML of an `iframe`, which runs its own script and sees nothing of the page around it.
    """
    inside = escape(page(trace, caption))
    return f'<iframe class="ardm-replay" sandbox="allow-scripts" srcdoc="{inside}"></iframe>'


def _lives(trace: Trace) -> list[list[Event]]:
    """All events of each position, also those that sent it back."""
    lives: list[list[Event]] = [[] for _ in trace.start]
    for events in trace.steps:
        for event in events:
            lives[event.position].append(event)
    return lives


def _span(pieces: Pieces, token: int | None, events: list[Event], newest: int) -> str:
    last = events[-1] if events else None
    style = ""
    kinds = []
    if token is None:
        kinds.append("hidden" if last is None else "back")
    elif last is None:
        kinds.append("given")
    else:
        if not math.isnan(last.log_prob):
            shade = colour(CONFIDENCE, math.exp(last.log_prob))
            style = f' style="background: rgb{shade}; color: rgb{ink(shade)}"'
        if last.step == newest:
            kinds.append("now")
        if sum(event.token is not None for event in events) > 1:
            kinds.append("again")
    text = HIDDEN if token is None else pieces[token]
    tip = escape("\n".join(_told(pieces, token, events)))
    line_break = "<br>" if token is not None and "⏎" in text else ""
    span = f'<span class="{" ".join(kinds)}"{style} data-tip="{tip}">{escape(text)}</span>'
    return span + line_break


def _told(pieces: Pieces, token: int | None, events: list[Event]) -> list[str]:
    """What is said of a position, the newest first."""
    if not events:
        return ["hidden" if token is None else f"“{pieces[token]}” was given"]
    return [_told_event(pieces, event) for event in reversed(events)]


def _told_event(pieces: Pieces, event: Event) -> str:
    if event.token is None:
        return f"sent back at pass {event.step + 1}"
    told = f"“{pieces[event.token]}” at pass {event.step + 1}"
    if math.isnan(event.log_prob):
        return told
    return f"{told}: log p = {event.log_prob:.3f} nats, p = {math.exp(event.log_prob):.3g}"


def _notes(trace: Trace, lives: list[list[Event]], running: bool) -> list[str]:
    asked = trace.start.count(None)
    hidden = trace.last_frame.count(None)
    passes = trace.num_steps
    again = sum(len(written) > 1 for written in trace.writings())
    notes = [f"pass {passes}" if running else f"{passes} passes"]
    notes += [f"{asked - hidden} of {asked} tokens"]
    notes += [f"{(asked - hidden) / passes:.1f} a pass"] if passes else []
    notes += [f"{again} written again"] if again else []
    # of a path on which tokens were replaced the sum over those that stayed means nothing
    last = [events[-1].log_prob for events in lives if events]
    total = sum(last)
    if last and not running and not again and not hidden and not math.isnan(total):
        bits = -total / math.log(2) / len(last)
        notes.append(f"log p = {total:.1f} nats, {bits:.2f} bits a token")
    return [*notes, 'p of each token: 0<i class="ardm-scale"></i>1']
