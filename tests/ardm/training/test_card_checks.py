"""What is found missing in a card before it is uploaded."""

import pytest

from ardm.hub import CardFigures, ImageCardFigures, image_model_card, model_card
from ardm.training.card_checks import missing_in_card, with_name
from ddpm import hub as ddpm_hub

CARDS = {
    "text": model_card(CardFigures()),
    "pixels": image_model_card(ImageCardFigures(shape=(1, 8, 8), num_values=4)),
    "diffusion": ddpm_hub.model_card(ddpm_hub.CardFigures()),
    "classifier": ddpm_hub.classifier_card(ddpm_hub.ClassifierFigures()),
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_our_cards_lack_nothing_but_the_name(card):
    assert missing_in_card(card, {}) == []
    assert "user/name" not in card and '"user/name"' in with_name(card, "user/name")
    assert with_name(with_name(card, "user/name"), "other/name") == with_name(card, "user/name")


def test_what_is_missing_is_named():
    card = "# A card\n![a](a.png) ![b](b.png) ![c](https://host/c.png) ![a](a.png)"
    assert missing_in_card(card, {"b.png": 1}) == [
        "its metadata has no license, so that nobody knows what may be done with the model",
        "its metadata has no library_name, so that the Hub does not know what loads it",
        "its metadata has no pipeline_tag, so that the Hub does not list it under its task",
        "it shows a.png, which is not in the folder",
    ]
    card = "---\nlicense: unknown\nlibrary_name: x\npipeline_tag: fill-mask\n---\n"
    assert [each.split(",")[0] for each in missing_in_card(card, ())] == [
        "its metadata has no license"
    ]


@pytest.mark.parametrize("front", ["a: [", "- a", "model-index: 3\nlicense: mit"])
def test_metadata_that_cannot_be_read_are_refused(front):
    with pytest.raises(ValueError, match=r"README\.md: its metadata cannot be read: ") as refused:
        missing_in_card(f"---\n{front}\n---\n# A card\n", ())
    assert "\n" not in str(refused.value)
