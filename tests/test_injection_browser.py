"""In a real browser: whatever a data set, a study or a person's note says is shown as text. Nothing of it runs, loads, or moves the page."""

import csv
import io
import json
import os
import signal
from urllib.parse import quote

import pytest

from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.report.captions import csv_text
from cotdistill.report.export import published
from cotdistill.results.findings import findings
from cotdistill.store.store import Store
from cotdistill.studies import annotations
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.importing.importer import import_task
from tests.test_browser import at_rest, free_port, page, pytestmark, serve

__all__ = ["page", "pytestmark"]

# Markup, script, style, templates, Markdown, LaTeX, formulas of a spreadsheet, and a word that no line can hold.
CORPUS = (
    "<script>window.__hit=1</script>", "<img src=x onerror=window.__hit=2>", "<svg/onload=window.__hit=3>",
    "</textarea></title></style></script><script>window.__hit=4</script>", "[click](javascript:window.__hit=5)",
    "![x](http://attacker.invalid/x.png)", "<a href='javascript:window.__hit=6' autofocus onfocus=window.__hit=7>x</a>",
    "<iframe src=http://attacker.invalid></iframe>", "<base href=//attacker.invalid>", "<link rel=stylesheet href=//attacker.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=http://attacker.invalid'>", "<style>body{display:none!important}</style>",
    "<div style='position:fixed;inset:0;z-index:99999;background:red;width:9000px'>over it all", "{{7*7}} ${7*7} {question} {0} %s %(x)s",
    "$\\href{javascript:window.__hit=8}{x}$ $$\\frac{1}{0}$$ \\input{/etc/passwd}", ":material/bolt: :red[x] # heading | a | b |\n---\n> - 1.",
    '=HYPERLINK("http://attacker.invalid","x")', "+1+1|' /C calc'!A0", "@SUM(1+1)", "-2+3", "\u202eright to left\u202c", "w" * 300,
    '" onmouseover="window.__hit=9', "'-window.__hit-'", "&lt;script&gt;window.__hit=10&lt;/script&gt;",
)  # fmt: skip
STUDY = "<img src=x onerror=window.__hit=11>"
VIEWS = {
    "": [""],
    "Data": ["task=evil", "task=evil&part=teachers"],
    "Train": ["task=evil", "run=1"],
    "Compare": [f"view={view}" for view in ("accuracy", "curves", "tokens", "size", "examples", "modes", "studies", "runs")],
    "Saliency": ["split=train&unit=word&student=post_cot", "split=test&student=label_only"],
    "Key_tokens": ["part=example", "part=mark", "part=task", "part=sweep"],
    "Findings": ["", "present=1"],
}  # fmt: skip
FLAWS = """() => ({
    hit: window.__hit ?? null,
    wide: document.documentElement.scrollWidth - window.innerWidth,
    side: !!document.querySelector('[data-testid=stSidebar]')?.getBoundingClientRect().width,
    shown: getComputedStyle(document.body).display !== 'none',
    told: document.body.innerText.includes('Traceback') || document.body.innerText.includes('should not happen'),
    foreign: [...document.querySelectorAll('script, iframe, base, link, img, a')].map(e => e.src || e.href || '').map(String)
        .filter(u => u.startsWith('javascript') || u.split('/')[2]?.includes('attacker')),
})"""


def wild(number):
    return CORPUS[number % len(CORPUS)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store whose every text is hostile, with a study of two finished students."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "rationales").mkdir()
    for split, count in {"train": len(CORPUS), "dev": 6, "test": len(CORPUS)}.items():
        rows = [
            {
                "id": f"{split}-{wild(i)[:30]}-{i}",
                "question": wild(i),
                "choices": [wild(i + 1), wild(i + 2), f"plain {i}"],
                "answer": i % 3,
            }
            for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        told = [{"id": row["id"], "rationale": f"{wild(i + 3)} so it is {wild(i + 4)}"} for i, row in enumerate(rows)]
        (folder / "rationales" / f"{split}.teacher.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    store = Store.open(tmp_path_factory.mktemp("store") / "store")
    import_task(store.tasks_root, folder, "evil")
    values = {
        "name": STUDY, "title": "".join(CORPUS[:4]), "task": "evil", "conditions": "label_only,post_cot", "replicates": 1,
        "training": {"steps": 3, "batch_size": 4, "evaluations": 1, "dev_examples": 4},
    }  # fmt: skip
    launch(store, plan(store, study_spec(None, values)))
    work(store)
    assert {job.state for job in store.queue.jobs()} == {"finished"}
    annotations.set_remark(
        store,
        STUDY,
        note="\n\n".join(CORPUS),
        tags=[one for one in CORPUS if len(one) <= 40 and "," not in one and one.isprintable()][:20],
    )
    return store.home


@pytest.mark.timeout(300)
def test_no_text_runs_or_loads_or_moves_anything_on_any_page(home, page):
    port, outside, dialogs = free_port(), [], []
    server = serve(home, port)
    page.on(
        "request",
        lambda asked: (
            outside.append(asked.url) if "//localhost" not in asked.url and asked.url.startswith("http") else None
        ),
    )
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    found = {}
    try:
        for name, queries in VIEWS.items():
            for query in queries:
                page.goto(f"http://localhost:{port}/{name}?study={quote(STUDY)}&{query}")
                at_rest(page)
                page.locator('[data-testid="stMain"]').first.wait_for()
                flaws = page.evaluate(FLAWS)
                if flaws != {
                    "hit": None,
                    "wide": 0,
                    "side": query != "present=1",
                    "shown": True,
                    "told": False,
                    "foreign": [],
                }:
                    found[f"{name}?{query}"] = flaws
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        stop_all(Store.open(home))
    assert (found, outside, dialogs) == ({}, [], [])


def test_what_is_exported_runs_nothing_and_starts_no_formula(home, page, tmp_path):
    store, dialogs = Store.open(home), []
    document = findings(store, STUDY)
    saved = tmp_path / "findings.html"
    saved.write_text(published(document, "html"), encoding="utf-8")
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(saved.as_uri())
    page.get_by_role("heading").first.wait_for()
    flaws = page.evaluate(FLAWS)
    assert (flaws["hit"], flaws["shown"], flaws["foreign"], dialogs) == (None, True, [], [])
    cells = [
        cell
        for row in csv.reader(io.StringIO(csv_text(["text"], [[one] for one in CORPUS]) + published(document, "csv")))
        for cell in row
    ]
    assert not [
        cell
        for cell in cells
        if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not cell[1:].replace(".", "", 1).isdigit()
    ]
