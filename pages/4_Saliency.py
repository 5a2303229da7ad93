"""Look inside students: what each token counts for an answer, side by side, and what an edit changes."""

from cotdistill.dashboard import frame
from cotdistill.dashboard.saliency import page

frame.page("Saliency", page.draw)
