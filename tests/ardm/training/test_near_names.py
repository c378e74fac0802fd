"""Near names: the one that resembles most, of each that resembles any."""

from ardm.training.near_names import meant


def test_each_name_has_its_nearest():
    known = ("--seed", "--steps", "--language")
    assert meant("--sead", known) == " (did you mean --seed?)"
    assert meant(["--sead", "--stepps"], known) == " (did you mean --seed, --steps?)"
    assert meant(["xyz", "--stepps"], iter(known)) == " (did you mean --steps?)"
    assert meant("xyz", known) == meant([], known) == meant("x", []) == ""


def test_how_alike_is_up_to_the_caller():
    assert meant("gen", ["generate"], 0.5) == " (did you mean generate?)"
    assert meant("gen", ["generate"]) == ""
