"""Look at a task and its rationales: one example under every condition, counts and checks, import."""

from cotdistill.views import data, frame

frame.page("Data", data.draw)
