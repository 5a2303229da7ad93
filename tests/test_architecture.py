"""Reads the code and keeps ARCHITECTURE.md true: floors, sizes, and what the page process may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. A module may import from lower floors and from its own package.
FLOORS = (
    "errors",
    "registry",
    "config",
    "tasks",
    "rationales",
    "students",
    "saliency",
    "keytokens",
    "studies",
    "views",
    "cli",
)
# On the same floor, without knowing each other.
BESIDE = {"teachers": "keytokens"}
# Loading one of these loads torch, or takes as long.
HEAVY = {
    "torch",
    "transformers",
    "captum",
    "datasets",
    "huggingface_hub",
    "accelerate",
    "peft",
    "sentence_transformers",
    "gensim",
}
# What runs in the page process or before a person sees the terminal's help.
LIGHT_STUDIES = (
    "study",
    "planning",
    "store",
    "artifacts",
    "jobs",
    "runner",
    "supervisor",
    "results",
    "claims",
    "noise",
    "matrix",
    "looks",
    "live",
    "eliciting",
)
LIGHT_SALIENCY = ("reading", "settings", "targets", "methods", "tables", "aggregates", "stability")
LIGHT_KEYTOKENS = ("selectors", "texts", "annotations", "agreement", "summary")
LIGHT_TEACHERS = (
    "answers", "asking", "duplicates", "elicitation", "endpoint", "filters", "mentions", "parse", "prompts", "quality", "responses", "sources",
)  # fmt: skip
IMPORT_NAMES = {"PyYAML": "yaml"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "cotdistill").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def pages() -> list[Path]:
    return [path for path in (ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))) if path.exists()]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(node: ast.AST, *, inside_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if is_for_types(child) and not inside_functions:
            continue
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not inside_functions:
            continue
        yield child
        yield from statements(child, inside_functions=inside_functions)


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    """Dotted names that a file imports; `from a import b` counts as a.b where that is a module, else as a."""
    known = modules()
    found: set[str] = set()
    for node in statements(tree(path), inside_functions=inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a line belongs"
            module = str(node.module)
            found |= {f"{module}.{alias.name}" if f"{module}.{alias.name}" in known else module for alias in node.names}
    return found


def floor_of(module: str) -> int:
    parts = module.split(".")
    if parts == ["cotdistill"]:
        return -1
    if parts[1] == "__main__":
        return len(FLOORS)
    return FLOORS.index(BESIDE.get(parts[1], parts[1]))


def closure(starts: set[str]) -> dict[str, str]:
    """Everything that is loaded when these modules are imported, and by which module first."""
    known = modules()
    found: dict[str, str] = {}
    waiting = [(name, "itself") for name in sorted(starts)]
    while waiting:
        name, by = waiting.pop()
        if name in found:
            continue
        found[name] = by
        packages = [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        waiting += [(package, name) for package in packages if package in known]
        if name in known:
            waiting += [(imported, name) for imported in imports(known[name], inside_functions=False)]
    return found


def test_every_module_belongs_to_a_floor() -> None:
    strangers = [
        m for m in modules() if m.count(".") and m.split(".")[1] not in (*FLOORS, *BESIDE, "statistics", "__main__")
    ]
    assert not strangers


def test_imports_run_downward_only() -> None:
    wrong = []
    for name, path in modules().items():
        # The package itself is a door for notebooks: it opens the studies when it is asked to.
        if name.startswith("cotdistill.statistics") or name == "cotdistill":
            continue
        for imported in imports(path):
            if not imported.startswith("cotdistill") or imported.startswith("cotdistill.statistics"):
                continue
            same_package = imported.split(".")[:2] == name.split(".")[:2]
            if floor_of(imported) > floor_of(name) or (floor_of(imported) == floor_of(name) and not same_package):
                wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_statistics_know_nothing_but_errors() -> None:
    wrong = []
    for name, path in modules().items():
        if name.startswith("cotdistill.statistics"):
            own = [
                i
                for i in imports(path)
                if i.startswith("cotdistill") and not i.startswith(("cotdistill.statistics", "cotdistill.errors"))
            ]
            outside = {i.split(".")[0] for i in imports(path)} - {
                *sys.stdlib_module_names,
                "numpy",
                "scipy",
                "cotdistill",
            }
            wrong += [f"{name} imports {imported}" for imported in (*own, *outside)]
    assert not wrong


def test_only_saliency_and_above_use_statistics() -> None:
    allowed = (
        "cotdistill.saliency",
        "cotdistill.keytokens",
        "cotdistill.teachers",
        "cotdistill.studies",
        "cotdistill.views",
        "cotdistill.cli",
        "cotdistill.statistics",
    )
    assert not [
        n
        for n, p in modules().items()
        if any(i.startswith("cotdistill.statistics") for i in imports(p)) and not n.startswith(allowed)
    ]


def test_pages_do_not_import_each_other() -> None:
    names = {page.stem for page in pages()}
    assert not [page.name for page in pages() if names & {imported.split(".")[0] for imported in imports(page)}]


def test_pages_use_views_studies_and_what_is_below_but_not_the_terminal() -> None:
    assert not [
        page.name for page in pages() if any(imported.startswith("cotdistill.cli") for imported in imports(page))
    ]


def light_modules() -> set[str]:
    known = modules()
    starts = {
        name
        for name in known
        if name.startswith(("cotdistill.views", "cotdistill.cli", "cotdistill.statistics", "cotdistill.tasks"))
    }
    starts |= {f"cotdistill.studies.{name}" for name in LIGHT_STUDIES} & set(known)
    starts |= {f"cotdistill.keytokens.{name}" for name in LIGHT_KEYTOKENS} & set(known)
    starts |= {f"cotdistill.teachers.{name}" for name in LIGHT_TEACHERS} & set(known)
    starts |= {f"cotdistill.saliency.{name}" for name in LIGHT_SALIENCY} & set(known)
    starts |= {
        "cotdistill.__main__",
        "cotdistill.students.models",
        "cotdistill.students.files",
        "cotdistill.students.tokens",
    }
    for page in pages():
        starts |= {name for name in imports(page) if name.startswith("cotdistill")}
    return starts


def test_nothing_of_the_page_process_or_the_terminal_loads_torch() -> None:
    loaded = closure(light_modules())
    assert not {name: by for name, by in loaded.items() if name.split(".")[0] in HEAVY}


def test_importing_all_of_it_leaves_torch_out_for_real() -> None:
    code = "\n".join(
        [
            "import importlib, sys",
            *(
                f"importlib.import_module({name!r})"
                for name in sorted(light_modules())
                if name != "cotdistill.__main__"
            ),
            f"print(sorted({HEAVY!r} & set(sys.modules)))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_plotly_is_imported_inside_functions_only() -> None:
    assert not [
        name
        for name, path in modules().items()
        if any(i.split(".")[0] == "plotly" for i in imports(path, inside_functions=False))
    ]


def test_streamlit_is_known_to_views_and_pages_only() -> None:
    using = [name for name, path in modules().items() if any(i.split(".")[0] == "streamlit" for i in imports(path))]
    assert all(name.startswith("cotdistill.views.") for name in using), using


def test_a_page_has_at_most_120_lines() -> None:
    assert not [page.name for page in pages() if len(page.read_text(encoding="utf-8").splitlines()) > 120]


def test_a_file_has_at_most_400_lines() -> None:
    assert not [name for name, path in modules().items() if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_no_module_is_called_utils_helpers_or_common() -> None:
    assert not [name for name in modules() if re.search(r"\b(utils?|helpers?|common|misc)\b", name)]


def test_every_module_says_what_it_is_for() -> None:
    assert not [
        name
        for name, path in modules().items()
        if not ast.get_docstring(tree(path)) and path.read_text(encoding="utf-8").strip()
    ]


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    ("torch", "load"), ("torch", "save"), ("yaml", "load"), ("yaml", "unsafe_load"), ("os", "system"), ("pd", "read_pickle"),
}  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [*modules().values(), *pages(), *sorted((ROOT / "benchmarks").glob("*.py"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_pickle_no_eval_no_shell(path: Path) -> None:
    assert not {imported.split(".")[0] for imported in imports(path)} & FORBIDDEN_MODULES
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}"
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            # torch.load is a pickle reader, but for tensors alone where that is asked for; one file needs it, to leave pickle behind.
            tensors = path.name == "convert.py" and any(
                k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords
            )
            called = (node.func.value.id, node.func.attr)
            assert called not in FORBIDDEN_METHODS or (called == ("torch", "load") and tensors), f"line {node.lineno}"
        if isinstance(node.func, ast.Attribute):
            assert node.func.attr != "to_pickle", f"line {node.lineno}"
        assert not any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords), (
            f"line {node.lineno}"
        )


def required(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_package_that_is_imported_is_a_direct_requirement() -> None:
    # What only an extra needs is imported inside functions, and its absence told in words.
    named = {
        *required("requirements.txt"),
        *(name.replace("-", "_") for name in required("requirements-keytokens.txt")),
    }
    named |= {
        name for name in ("tensorboard", "mlflow", "wandb", "ray") if name in required(f"requirements-{name}.txt")
    }
    named |= set(required("requirements-lora.txt"))
    allowed = {IMPORT_NAMES.get(name, name).lower() for name in named} | {"cotdistill", "huggingface_hub"}
    for path in (*modules().values(), *pages()):
        outside = {imported.split(".")[0] for imported in imports(path)} - set(sys.stdlib_module_names)
        assert {name.lower() for name in outside} <= allowed, path
