"""An exposed dashboard asks for a password on every page; a report that is shared holds nothing of the data; logs stay short."""

from __future__ import annotations

import json
import zipfile

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill import exposure
from cotdistill.cli.commands import app
from cotdistill.dashboard import access
from cotdistill.errors import UsageError
from cotdistill.execution.attempts import claim
from cotdistill.store.logs import bound
from cotdistill.store.records import JobSpec
from cotdistill.store.store import Store
from tests.terminal import check_keys, speaker
from tests.test_pages import PAGES, ROOT

SECRET = "correct horse battery"


@pytest.fixture(autouse=True)
def _nobody_has_tried(monkeypatch):
    monkeypatch.setattr(access, "_wrong", 0)
    monkeypatch.setattr(access, "_open_at", 0.0)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(ROOT)
    return lambda: AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_asks_for_the_password_first(page, opened, monkeypatch):
    monkeypatch.setenv(exposure.PASSWORD, SECRET)
    shown = opened()
    if page != "app.py":
        shown.switch_page(page).run()
    assert [one.label for one in shown.text_input] == ["Password"] and [one.value for one in shown.title] == [
        "cotdistill"
    ]
    assert not shown.subheader and not shown.get("html")


def test_the_password_admits_this_session_alone_and_a_wrong_one_does_not(opened, monkeypatch):
    monkeypatch.setenv(exposure.PASSWORD, SECRET)
    shown = opened()
    shown.text_input[0].set_value("guess")
    shown.button[0].click().run()
    assert "not the password" in shown.error[0].value
    monkeypatch.setattr(access, "_open_at", 0.0)
    shown.text_input[0].set_value(SECRET)
    shown.button[0].click().run()
    assert not shown.exception and shown.title[0].value != "cotdistill"
    assert [one.value for one in opened().title] == ["cotdistill"]


def test_a_dashboard_with_a_login_is_shut_until_somebody_is_logged_in(opened, monkeypatch):
    monkeypatch.setattr(access, "has_login", lambda: True)
    monkeypatch.setattr(access, "can_log_in", lambda: True)
    users = [{"is_logged_in": False}, {"is_logged_in": True}]
    monkeypatch.setattr("streamlit.user_info._get_user_info", lambda: users[0])
    shown = opened()
    assert (
        [one.value for one in shown.title] == ["cotdistill"]
        and [one.label for one in shown.button] == ["Log in"]
        and not shown.subheader
    )
    users.pop(0)
    assert (
        not shown.run().exception
        and "Log in" not in [one.label for one in shown.button]
        and shown.title[0].value != "cotdistill"
    )


def test_somebody_who_is_logged_in_and_not_on_the_list_sees_nothing(opened, monkeypatch):
    monkeypatch.setattr(access, "has_login", lambda: True)
    monkeypatch.setattr(access, "can_log_in", lambda: True)
    monkeypatch.setattr(
        "streamlit.user_info._get_user_info", lambda: {"is_logged_in": True, "email": "eve@example.org"}
    )
    monkeypatch.setenv(exposure.ALLOWED, "ada@example.org")
    shown = opened()
    assert (
        "not among those" in shown.error[0].value
        and not shown.subheader
        and [one.label for one in shown.button] == ["Log out"]
    )


def test_the_list_holds_addresses_and_domains_and_no_address_that_is_not_confirmed():
    ada = {"email": "Ada@Example.org", "email_verified": True}
    assert [access.is_allowed(ada, given) for given in ("", " , ", "ada@example.org", "x@y.z, @example.org")] == [
        True
    ] * 4
    assert [access.is_allowed(ada, given) for given in ("example.org", "@ample.org", "da@example.org", "@")] == [
        False
    ] * 4
    assert not access.is_allowed(ada | {"email_verified": False}, "ada@example.org") and access.is_allowed(
        {"email": "a@b.c"}, "@b.c"
    )
    assert not access.is_allowed({"sub": "1"}, "@b.c") and access.is_allowed({"sub": "1"}, "")


def test_an_exposed_dashboard_without_a_password_shows_nothing(opened, monkeypatch):
    monkeypatch.setenv(exposure.EXPOSED, "1")
    shown = opened()
    assert "nothing protects it" in shown.error[0].value and not shown.title


def test_wrong_tries_are_looked_at_ever_more_slowly():
    assert [access.tried("no", SECRET, now) for now in (100.0, 101.0, 103.0)] == [1.0, 2.0, 4.0]
    # The right one, too soon: not compared at all.
    assert access.tried(SECRET, SECRET, 104.0) == 3.0
    assert access.tried(SECRET, SECRET, 107.0) == 0.0
    assert access.tried("no", SECRET, 108.0) == 1.0


def test_exposing_asks_for_the_flag_and_a_long_password(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(exposure.PASSWORD, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    app._check_exposure(tmp_path, "localhost", False)
    with pytest.raises(UsageError, match="Other machines could reach"):
        app._check_exposure(tmp_path, "0.0.0.0", False)
    with pytest.raises(UsageError, match="is not set"):
        app._check_exposure(tmp_path, "0.0.0.0", True)
    monkeypatch.setenv(exposure.PASSWORD, "short")
    with pytest.raises(UsageError, match="shorter than 12"):
        app._check_exposure(tmp_path, "0.0.0.0", True)
    with pytest.raises(UsageError, match="is no address"):
        app._check_exposure(tmp_path, "a b", True)
    monkeypatch.setenv(exposure.PASSWORD, SECRET)
    app._check_exposure(tmp_path, "0.0.0.0", True)
    assert "Warning: other machines" in capsys.readouterr().err
    monkeypatch.delenv(exposure.PASSWORD)
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth]\nclient_id = 'x'\n")
    monkeypatch.setattr(exposure, "can_log_in", lambda: False)
    with pytest.raises(UsageError, match="Authlib") as refused:
        app._check_exposure(tmp_path, "0.0.0.0", True)
    assert "requirements-login.txt" in refused.value.hint
    monkeypatch.setattr(exposure, "can_log_in", lambda: True)
    app._check_exposure(tmp_path, "0.0.0.0", True)


def test_a_login_without_its_package_says_what_to_install(opened, monkeypatch):
    monkeypatch.setattr(access, "has_login", lambda: True)
    monkeypatch.setattr(access, "can_log_in", lambda: False)
    shown = opened()
    assert (
        "Authlib" in shown.error[0].value
        and any("requirements-login.txt" in one.value for one in shown.caption)
        and not shown.subheader
        and not shown.button
    )


def test_a_shared_report_holds_no_secret_no_text_and_no_path(tmp_path, monkeypatch, capsys):
    home = tmp_path / "homeofsomebody"
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    monkeypatch.setenv("COTDISTILL_TOKEN", "token-xyzzy")
    store = Store.open(home)
    store.queue.submit(
        [
            JobSpec(
                "train",
                {"condition": "label_only", "task": "taskxyzzy", "question": "question-xyzzy"},
                label="label-xyzzy",
            )
        ]
    )
    attempt = claim(store.queue)
    attempt.fail({"kind": "disk_full", "message": "message-xyzzy", "hint": str(home), "traceback": "trace-xyzzy"})
    attempt.close()
    document = speaker(capsys)("doctor --json", "--bundle", str(tmp_path / "report.zip")).document
    check_keys("doctor", document)
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        assert archive.namelist() == ["report.json"]
        text = archive.read("report.json").decode()
    assert not [planted for planted in ("xyzzy", "homeofsomebody", str(tmp_path)) if planted in text]
    told = json.loads(text)
    assert told["store"]["jobs"] == {"train": {"failed": 1}} and told["store"]["errors"] == {"disk_full": 1}
    assert "COTDISTILL_TOKEN" in told["environment"] and told["packages"] == document["packages"]
    assert speaker(capsys)("doctor --json", "--bundle", str(tmp_path / "report.zip")).error["kind"] == "usage"


def test_a_log_that_is_written_to_stays_short(tmp_path):
    path = tmp_path / "supervisor.log"
    with open(path, "ab", buffering=0) as writer:
        writer.write(b"a" * 60)
        assert not bound(path, 100)
        writer.write(b"b" * 60)
        assert bound(path, 100)
        writer.write(b"c")
    assert path.read_bytes() == b"c" and (tmp_path / "supervisor.old.log").read_bytes() == b"a" * 40 + b"b" * 60
    assert not bound(tmp_path / "none.log", 100)
