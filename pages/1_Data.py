"""Look at a task and its rationales: one example under every condition, counts and checks, import."""

from cotdistill.dashboard import frame
from cotdistill.dashboard.data import page

frame.page("Data", page.draw)
