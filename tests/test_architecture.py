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

# From the ground up; a room may import from the rooms before it and from itself. What shares a line stands side by
# side, without knowing each other.
ROOMS = (
    ("errors", "registry", "config", "text", "exposure"),
    ("statistics", "tasks"),
    ("rationales", "store"),
    ("students", "teachers"),
    ("saliency",),
    ("keytokens",),
    ("studies",),
    ("results",),
    ("planning",),
    ("execution", "exchange"),
    ("report",),
    ("cli", "dashboard"),
)
# Within the ground the order is that of the line.
GROUND = ROOMS[0]
# The only rooms that may import torch, or what loads it.
TORCH_ROOMS = (
    "cotdistill.students",
    "cotdistill.saliency",
    "cotdistill.teachers.local",
    "cotdistill.execution.jobs",
    "cotdistill.execution.live.server",
    "cotdistill.execution.open_student",
)
# Loading one of these loads torch, or takes as long.
HEAVY = {
    "torch", "transformers", "captum", "datasets", "huggingface_hub", "accelerate", "peft", "sentence_transformers",
    "gensim",
}  # fmt: skip
# Their files that do load it, on purpose.
HEAVY_FILES = {"cotdistill.teachers.local"}
# Rooms of the page process and of the terminal's help: none of their files loads torch when it is imported.
LIGHT_ROOMS = (
    "tasks", "statistics", "store", "studies", "results", "planning", "exchange", "report", "cli", "dashboard",
    "teachers", "keytokens",
)  # fmt: skip
# Of the rooms that do compute, the files that describe it and are read by pages.
LIGHT_FILES = (
    "saliency.reading", "saliency.settings", "saliency.targets", "saliency.methods", "saliency.tables",
    "saliency.aggregates", "saliency.stability", "execution.worker", "execution.supervisor", "execution.live.client",
    "students.models", "students.files", "students.tokens", "students.preparation", "__main__",
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


def room_of(module: str) -> str:
    """The room of a module: its first folder, or its own name on the ground floor."""
    return module.split(".")[1]


def floor_of(room: str) -> int:
    return next(floor for floor, rooms in enumerate(ROOMS) if room in rooms)


def internal_imports() -> Iterator[tuple[str, str]]:
    """(importing module, imported module) for every import within the package, wherever in a file it stands."""
    known = modules()
    for name, path in known.items():
        for imported in imports(path):
            # The package itself is a door for notebooks: it opens a store when it is asked to.
            if imported in known and "cotdistill" not in (imported, name) and name != "cotdistill.__main__":
                yield name, imported


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


def test_every_module_belongs_to_a_room() -> None:
    rooms = {room for line in ROOMS for room in line}
    assert not [name for name in modules() if name.count(".") and room_of(name) not in {*rooms, "__main__"}]


def test_imports_run_downward_by_room() -> None:
    wrong = []
    for name, imported in internal_imports():
        here, there = room_of(name), room_of(imported)
        if here in GROUND and there in GROUND:
            upward = GROUND.index(there) > GROUND.index(here)
        else:
            upward = here != there and floor_of(there) >= floor_of(here)
        if upward:
            wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    below: dict[str, set[str]] = {}
    for name, imported in internal_imports():
        below.setdefault(name, set()).add(imported)
    # What imports nothing that is left, or is imported by nothing that is left, is part of no circle.
    left = dict(below)
    while True:
        imported_by_some = {imported for names in left.values() for imported in names}
        ends = [name for name in left if name not in imported_by_some or not left[name] & set(left)]
        if not ends:
            break
        left = {name: names - set(ends) for name, names in left.items() if name not in ends}
    assert not {name: sorted(names & set(left)) for name, names in left.items()}


def test_torch_is_imported_only_in_the_rooms_that_compute() -> None:
    using = [name for name, path in modules().items() if any(i.split(".")[0] == "torch" for i in imports(path))]
    assert not [name for name in using if not name.startswith(TORCH_ROOMS)]


def test_streamlit_is_imported_only_in_the_dashboard() -> None:
    using = [name for name, path in modules().items() if any(i.split(".")[0] == "streamlit" for i in imports(path))]
    assert not [name for name in using if room_of(name) != "dashboard"]


def test_terminal_and_dashboard_do_not_know_each_other() -> None:
    pairs = ({"cli", "dashboard"},)
    assert not [f"{a} imports {b}" for a, b in internal_imports() if {room_of(a), room_of(b)} in pairs]


def page_folder(module: str) -> str | None:
    """The folder of a page's own files; None for what all pages share."""
    parts = module.split(".")
    return parts[2] if room_of(module) == "dashboard" and len(parts) == 4 and parts[2] != "widgets" else None


def test_no_page_imports_the_folder_of_another_page() -> None:
    wrong = []
    for name, imported in internal_imports():
        if room_of(name) == "dashboard" and page_folder(imported) not in (None, page_folder(name)):
            wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_statistics_know_nothing_but_errors() -> None:
    wrong = []
    for name, path in modules().items():
        if name.startswith("cotdistill.statistics"):
            inside = [b for a, b in internal_imports() if a == name and room_of(b) not in ("statistics", "errors")]
            outside = {i.split(".")[0] for i in imports(path)} - {
                *sys.stdlib_module_names,
                "numpy",
                "scipy",
                "cotdistill",
            }
            wrong += [f"{name} imports {imported}" for imported in (*inside, *outside)]
    assert not wrong


def test_a_folder_has_at_most_20_files() -> None:
    folders = [path for path in (ROOT / "cotdistill").rglob("*") if path.is_dir() and path.name != "__pycache__"]
    counts = {
        str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in [ROOT / "cotdistill", *folders]
    }
    assert not {folder: count for folder, count in counts.items() if count > 20}


def test_no_class_name_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(name)
    assert not {cls: names for cls, names in places.items() if len(names) > 1}


# Words that say how a value came about instead of what it is.
VAGUE_NAMES = {"told", "found", "given", "made", "own", "mine", "one"}


# Fields of configs and documents that are hashed, stored or published under their name.
KEPT_NAMES = {
    "cotdistill.saliency.stability": {"one"}, "cotdistill.saliency.targets": {"one"}, "cotdistill.teachers.answers": {"given"},
    "cotdistill.teachers.elicitation": {"given"}, "cotdistill.teachers.prompts": {"given"},
}  # fmt: skip


def vague_names(node: ast.AST, looping: bool = False) -> Iterator[str]:
    """Vague names that a file binds: variables, parameters, fields, functions, but for variables of loops."""
    if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
        yield from (
            name for child in ast.iter_child_nodes(node) if child is not node.target for name in vague_names(child)
        )
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE_NAMES:
        yield f"{node.id} (line {node.lineno})"
    if isinstance(node, ast.arg) and node.arg in VAGUE_NAMES:
        yield f"{node.arg} (line {node.lineno})"
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name.lstrip("_") in VAGUE_NAMES:
        yield f"{node.name} (line {node.lineno})"
    for child in ast.iter_child_nodes(node):
        yield from vague_names(child)


def test_values_are_named_after_what_they_are() -> None:
    vague = {
        name: [found for found in vague_names(tree(path)) if found.split(" ")[0] not in KEPT_NAMES.get(name, set())]
        for name, path in modules().items()
    }
    assert not {name: names for name, names in vague.items() if names}


def light_modules() -> set[str]:
    known = modules()
    starts = {name for name in known if name.count(".") and room_of(name) in LIGHT_ROOMS and name not in HEAVY_FILES}
    starts |= {f"cotdistill.{name}" for name in LIGHT_FILES} & set(known)
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


def test_a_file_has_at_most_600_lines() -> None:
    assert not [name for name, path in modules().items() if len(path.read_text(encoding="utf-8").splitlines()) > 600]


def test_a_file_of_a_page_holds_a_door_and_no_more() -> None:
    assert not [page.name for page in pages() if len(page.read_text(encoding="utf-8").splitlines()) > 10]


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
    ("torch", "load"), ("torch", "save"), ("yaml", "load"), ("yaml", "unsafe_load"), ("os", "system"),
    ("pd", "read_pickle"),
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
            # torch.load reads pickle unless asked for tensors alone; one file needs it, to leave pickle behind.
            tensors = path.name == "pickled.py" and any(
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
    named |= {*required("requirements-lora.txt"), *required("requirements-gguf.txt")}
    allowed = {IMPORT_NAMES.get(name, name).lower() for name in named} | {"cotdistill", "huggingface_hub"}
    for path in (*modules().values(), *pages()):
        outside = {imported.split(".")[0] for imported in imports(path)} - set(sys.stdlib_module_names)
        assert {name.lower() for name in outside} <= allowed, path
