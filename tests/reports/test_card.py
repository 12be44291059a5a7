import json

import pytest
import yaml
from huggingface_hub import ModelCard as HubCard

from cxrlens.errors import CxrlensError
from cxrlens.evaluation.assess import assess_run
from cxrlens.evaluation.card import NO_OUTSIDE, ModelCard, Place, card_of
from cxrlens.reports.run import write_report
from cxrlens.reports.trust import card_markdown, card_page, checklist, told, write_card_as

THERE = Place(place="elsewhere", disease="tuberculosis", films=40, normals=60, auc=0.81, low=0.7)


@pytest.fixture
def card(run):
    assess_run(run, resamples=20)
    return card_of(run)


def test_a_run_without_a_score_outside_says_so_in_red_at_its_top(run, card, tmp_path):
    assert card.inside
    assert not card.outside
    pages = card_page(card).render(), write_report(run, tmp_path / "r.html").read_text("utf-8")
    for page in pages:
        assert page.index('class="warning alarm"') < page.index('id="in-short"')
        assert NO_OUTSIDE in page
    assert f"> **{NO_OUTSIDE}**" in card_markdown(card)


def test_a_score_outside_stands_first_and_nothing_is_red(card):
    judged = card.model_copy(update={"outside": [THERE]})
    page = card_page(judged).render()
    assert "warning alarm" not in page
    assert page.index("Outside: tuberculosis at elsewhere") < page.index("Inside: ")
    assert NO_OUTSIDE not in card_markdown(judged)


def test_markdown_is_a_model_card_of_the_hub(card):
    text = card_markdown(card.model_copy(update={"outside": [THERE]}))
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "cxrlens"
    (first, *_) = HubCard(text).data.eval_results
    assert (first.dataset_split, first.metric_type, first.metric_value) == (
        "outside",
        "roc_auc",
        0.81,
    )
    for heading in ("## Uses", "## Training data", "## Evaluation", "## CLAIM 2024"):
        assert heading in text


def test_what_nobody_knows_is_a_named_blank(card):
    lists = checklist(card)
    assert {name: len(items) for name, items in lists.items()} == {
        "CLAIM 2024": 44,
        "TRIPOD+AI": 52,
    }
    answers = {number: said for number, _, said in lists["CLAIM 2024"]}
    assert answers["33"] == answers["44"] == "not reported"
    assert answers["20"].endswith("no patient in two of them")
    assert told(card)["youngest"] == "15 years for tuberculosis"  # no film of training tells one
    assert told(card)["lungs"] == ""


@pytest.mark.parametrize("form", ["html", "json", "md"])
def test_a_card_is_written_as_its_file_is_called(card, tmp_path, form):
    path = write_card_as(card, tmp_path / f"card.{form}")
    if form == "json":
        assert ModelCard.model_validate(json.loads(path.read_text("utf-8"))) == card
    with pytest.raises(CxrlensError, match="exists"):
        write_card_as(card, path)


def test_another_form_is_refused(card, tmp_path):
    with pytest.raises(CxrlensError, match=r"\.html, \.json or \.md"):
        write_card_as(card, tmp_path / "card.pdf")
