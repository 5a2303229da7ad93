"""Which addresses are this machine's own, and what says in the environment that the dashboard is open to others. Read by the terminal too."""

PASSWORD = "COTDISTILL_PASSWORD"
EXPOSED = "COTDISTILL_EXPOSED"
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
