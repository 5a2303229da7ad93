"""Compose a study, see what it costs and can detect, launch it, and watch the queue."""

from cotdistill.dashboard import frame
from cotdistill.dashboard.train import page

frame.page("Train", page.draw)
