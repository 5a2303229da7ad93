"""An edited text: words that the student does not know, and more than a link can hold."""

from types import SimpleNamespace

from cotdistill.dashboard.widgets import editing


def test_words_that_the_tokenizer_does_not_know_are_named_once_and_those_of_the_original_are_not(encoder):
    edited = "the bird zorps in a zorps tree . blick"
    assert editing.unknown_words(encoder, "the blick lives", edited) == ["zorps"]
    assert editing.unknown_words(encoder, "", "the bird lives in a tree .") == []


def test_a_text_that_is_too_long_is_kept_aside_and_said_to_be_so_until_it_is_shortened(monkeypatch):
    page = SimpleNamespace(query_params={}, session_state={"edit.question": "word " * 3000})
    monkeypatch.setattr(editing, "st", page)
    editing._keep("question", "before")
    assert page.session_state["edit.refused"] == {"question": "word " * 3000} and page.query_params == {}
    page.session_state["edit.question"] = "a short one"
    editing._keep("question", "before")
    assert page.session_state["edit.refused"] == {} and page.query_params == {"question": "a short one"}
