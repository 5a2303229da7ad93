"""Look inside students: what each token counts for an answer, side by side, and what an edit changes."""

from cotdistill.views import frame, saliency

frame.page("Saliency", saliency.draw)
