"""The page of terms, and the ? beside every figure."""

import ast
from pathlib import Path

from streamlit.testing.v1 import AppTest

from cotdistill.report.figures.terms import FIGURES, TERMS, matching, terms_of

ROOT = Path(__file__).resolve().parents[1]


def page(home, monkeypatch, **query):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    app = AppTest.from_file(str(ROOT / "app.py")).switch_page("pages/7_How_to_read_this.py")
    for name, value in query.items():
        app.query_params[name] = value
    return app.run(timeout=60)


def test_every_term_is_defined_once_and_its_document_is_there():
    names = [term.name for term in TERMS]
    assert len(set(names)) == len(names) == len({term.anchor for term in TERMS})
    assert all((ROOT / "docs" / term.document).is_file() for term in TERMS if term.document)


def figure_keys():
    """The keys of all figures that the pages draw; of a key with a number or a name in it, what stands before it."""
    for path in (ROOT / "cotdistill/dashboard").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "chart":
                key = node.args[1].values[0] if isinstance(node.args[1], ast.JoinedStr) else node.args[1]
                yield key.value


def test_every_figure_of_the_pages_names_the_terms_it_needs():
    keys = list(figure_keys())
    assert len(keys) >= 20 and [key for key in keys if not terms_of(key)] == []
    assert {name.split(".")[0] for name in FIGURES} == {key.split(".")[0] for key in keys}
    assert [term.name for term in terms_of("many.probe")] == ["probe", "accuracy"]
    assert terms_of("claim2") == terms_of("claim") and terms_of("claim")
    assert terms_of("matrix.post_cot.1") == terms_of("matrix")
    assert terms_of("nothing") == ()


def test_terms_are_found_by_their_words_whatever_the_case():
    assert [term.name for term in matching("SPEARMAN order")] == ["rank correlation"]
    assert matching("") == list(TERMS)


def test_a_link_shows_its_term_first_and_an_unknown_one_is_said(tmp_path, monkeypatch):
    app = page(tmp_path, monkeypatch, term="no-worse")
    definitions = [one.value for one in app.markdown if one.value.startswith("**") and ": " in one.value]
    assert not app.exception and definitions[0].startswith("**no worse**") and len(definitions) == len(TERMS) + 1
    assert "which is not here" in page(tmp_path, monkeypatch, term="<b>").warning[0].value


def test_a_word_that_no_term_holds_is_said(tmp_path, monkeypatch):
    app = page(tmp_path, monkeypatch)
    app.text_input[0].set_value("zebra *bold*").run(timeout=60)
    assert "No term holds" in app.info[0].value and not app.exception
