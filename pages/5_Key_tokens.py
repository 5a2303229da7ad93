"""Which tokens of a rationale count: selectors side by side, marks made by people, the sweep over their number, and training on them."""

from cotdistill.views import frame, keytokens

frame.page("Key tokens", keytokens.draw)
