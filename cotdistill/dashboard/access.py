"""Who may see the pages when they are served beyond this machine: a password, or a login that Streamlit is set up
for.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Mapping

import streamlit as st
from streamlit.errors import StreamlitAPIException

from cotdistill.exposure import ALLOWED, EXPOSED, INSTALL, LOCAL, PASSWORD, can_log_in

# Wrong passwords in a row, whoever gave them: the next is looked at after 1, 2, 4 ... seconds, at most a minute.
LONGEST_WAIT = 60.0

_ADMITTED = "admitted by"
_lock = threading.Lock()
_wrong, _open_at = 0, 0.0


def admitted() -> bool:
    """Whether this session may see the page; else what it takes is drawn in the page's place."""
    password = os.environ.get(PASSWORD, "")
    login = has_login()
    if not (password or login or exposed()):
        return True
    if login:
        return _logged_in()
    if not password:
        st.error(
            "The dashboard can be reached from other machines, and nothing protects it.", icon=":material/lock_open:"
        )
        st.caption(
            f"What to do: start it with {PASSWORD} in the environment, or on this machine alone: cotdistill app start"
        )
        return False
    if st.session_state.get(_ADMITTED) == _digest(password):
        return True
    st.title("cotdistill", anchor=False)
    with st.form("password", width=420):
        entered = st.text_input("Password", type="password")
        sent = st.form_submit_button("Enter", type="primary")
    if sent:
        if wait := tried(entered, password):
            st.error(
                f"That is not the password, or it came too soon. Try again in {wait:.0f} s.", icon=":material/lock:"
            )
        else:
            st.session_state[_ADMITTED] = _digest(password)
            st.rerun()
    return False


def _logged_in() -> bool:
    if not can_log_in():
        st.error("A login is set up, but the package that it needs is not installed: Authlib.", icon=":material/lock:")
        st.caption(f"What to do: {INSTALL}, then start the dashboard again.")
        return False
    known = bool(st.user.is_logged_in)
    if known and is_allowed(st.user, os.environ.get(ALLOWED, "")):
        st.sidebar.button("Log out", on_click=st.logout, type="tertiary", icon=":material/logout:")
        return True
    st.title("cotdistill", anchor=False)
    if not known:
        st.button("Log in", on_click=st.login, type="primary")
        return False
    st.error("You are logged in, but not among those who may enter.", icon=":material/lock:")
    st.caption(
        "What to do: log in as somebody else, or ask whoever runs this dashboard to add your confirmed address to"
        f" {ALLOWED}."
    )
    st.button("Log out", on_click=st.logout)
    return False


def is_allowed(user: Mapping[str, object], allowed: str) -> bool:
    """Whether what the provider says of a user is on the list: addresses and @domains between commas, in any case;
    everybody if it is empty.

    An address that the provider says is not confirmed could be anybody's, and is not on the list.
    """
    names = [name for part in allowed.split(",") if (name := part.strip().casefold())]
    if not names:
        return True
    address = str(user.get("email") or "").strip().casefold()
    confirmed = user.get("email_verified", True) in (True, "true")
    return confirmed and any(address.endswith(name) if name.startswith("@") else address == name for name in names)


def exposed() -> bool:
    """Whether other machines can reach the dashboard."""
    address = st.get_option("server.address")
    return os.environ.get(EXPOSED) == "1" or (bool(address) and address not in LOCAL)


def has_login() -> bool:
    """Whether Streamlit's secrets set up a login (OIDC)."""
    try:
        return "auth" in st.secrets
    except (OSError, StreamlitAPIException):
        return False


def tried(entered: str, password: str, now: float | None = None) -> float:
    """0 if it is the password, else the seconds until the next try is looked at. Tries before that are not compared at
    all.
    """
    global _wrong, _open_at
    now = time.monotonic() if now is None else now
    with _lock:
        if now < _open_at:
            return max(1.0, _open_at - now)
        if hmac.compare_digest(_digest(entered), _digest(password)):
            _wrong, _open_at = 0, 0.0
            return 0.0
        wait = min(LONGEST_WAIT, 2.0**_wrong)
        _wrong, _open_at = _wrong + 1, now + wait
        return wait


def _digest(text: str) -> str:
    # Of equal length, so that the time of the comparison tells nothing of the password's.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
