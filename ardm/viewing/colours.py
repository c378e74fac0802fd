"""Colours of numbers in [0, 1], on backgrounds light and dark: scales whose lightness goes one way.

A colour is a background here, with ink that contrasts with it, since no text colour is legible on
every terminal. The stops are those of matplotlib's viridis, reversed so that what is sure is calm
and doubt stands out, and plasma.
"""

RGB = tuple[int, int, int]

CONFIDENCE = (
    "#fde725",
    "#b5de2b",
    "#6ece58",
    "#35b779",
    "#1f9e89",
    "#26828e",
    "#31688e",
    "#3e4989",
)
ORDER = ("#2f0596", "#6a00a8", "#9c179e", "#c5407e", "#e16462", "#f38949", "#fdb42f", "#f6e726")


def colour(stops: tuple[str, ...], value: float) -> RGB:
    """Interpolates between the stops.

    Args:
        stops: "#rrggbb" at equal distances from 0 to 1.
        value: in [0, 1]; what lies outside gets the end's colour.

    Returns:
        Red, green and blue, 0..255.
    """
    place = min(max(value, 0.0), 1.0) * (len(stops) - 1)
    below = min(int(place), len(stops) - 2)
    ends = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops[below : below + 2]]
    red, green, blue = (round(a + (b - a) * (place - below)) for a, b in zip(*ends, strict=True))
    return red, green, blue


def ink(background: RGB) -> RGB:
    """Black or white, whichever contrasts more by the relative luminance of WCAG 2."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
