"""Which addresses are this machine's own, and what opens the dashboard to others, and to whom. Read by the terminal
too.
"""

from importlib.util import find_spec

PASSWORD = "COTDISTILL_PASSWORD"
EXPOSED = "COTDISTILL_EXPOSED"
ALLOWED = "COTDISTILL_ALLOWED"
INSTALL = ".venv/bin/python -m pip install -c constraints.txt -r requirements-login.txt"
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))


def can_log_in() -> bool:
    """Whether the package is there that Streamlit's login needs."""
    return find_spec("authlib") is not None
