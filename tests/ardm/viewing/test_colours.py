"""Colours: scales go one way in lightness, and what is written on them can be read."""

import numpy as np
import pytest

from ardm.viewing.colours import CONFIDENCE, ORDER, colour, ink


def luminance(rgb):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(rgb) / 255
    ]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("stops", [CONFIDENCE, ORDER])
def test_a_scale_goes_through_its_stops_and_its_lightness_goes_one_way(stops):
    reached = [colour(stops, i / (len(stops) - 1)) for i in range(len(stops))]
    assert tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in reached) == stops
    steps = np.diff([luminance(colour(stops, value)) for value in np.linspace(0, 1, 200)])
    assert (steps < 1e-3).all() or (steps > -1e-3).all()
    assert colour(stops, -1) == colour(stops, 0) and colour(stops, 2) == colour(stops, 1)


@pytest.mark.parametrize("stops", [CONFIDENCE, ORDER])
def test_ink_contrasts_as_wcag_asks_of_text(stops):
    for value in np.linspace(0, 1, 200):
        background = colour(stops, value)
        light, dark = sorted((luminance(background), luminance(ink(background))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
