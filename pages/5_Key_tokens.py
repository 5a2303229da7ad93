"""Which tokens of a rationale count: selectors side by side, marks made by people, the sweep over their number, and
training on them.
"""

from cotdistill.dashboard import frame
from cotdistill.dashboard.keytokens import page

frame.page("Key tokens", page.draw)
