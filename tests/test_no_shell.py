"""No command runs a shell: in all of the agent one place starts programs, and one starts the agent again."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

AGENT = Path(__file__).resolve().parent.parent / "agent"
STARTS_PROGRAMS = {"process/child.py", "doctor/look/programs.py"}
"""The second is ``lookout doctor``'s, which a person starts: the agent never loads it (import-linter)."""
TAKES_THE_PROCESS_OVER = {"supervise/restart.py"}

FORBIDDEN_CALLS = (
    "os.system", "os.popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.posix_spawnp", "os.startfile", "pty.spawn",
    "asyncio.create_subprocess_shell", "asyncio.create_subprocess_exec", "subprocess.getoutput",
    "subprocess.getstatusoutput", "eval", "exec", "compile", "pickle.loads", "pickle.load", "marshal.loads",
    "runpy.run_path",
)  # fmt: skip
FORBIDDEN_MODULES = {"pty", "multiprocessing", "commands", "popen2", "pickle", "marshal", "runpy", "code"}

FILES = sorted(AGENT.rglob("*.py"))


def name(node: ast.expr) -> str:
    """``os.system`` of the expression that says so."""
    if isinstance(node, ast.Attribute):
        return f"{name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.AST]:
    assert len(FILES) > 100
    return {str(path.relative_to(AGENT)): ast.parse(path.read_text()) for path in FILES}


def test_one_place_starts_programs(trees: dict[str, ast.AST]) -> None:
    assert {path for path, tree in trees.items() if "subprocess" in imports(tree)} == STARTS_PROGRAMS


def test_nothing_is_handed_to_a_shell_or_run_as_code(trees: dict[str, ast.AST]) -> None:
    for path, tree in trees.items():
        assert not imports(tree) & FORBIDDEN_MODULES, path
        for call in calls(tree):
            assert name(call.func) not in FORBIDDEN_CALLS, f"{path}:{call.lineno}"
            shell = [keyword for keyword in call.keywords if keyword.arg == "shell"]
            assert not shell, f"{path}:{call.lineno}: shell="


def test_only_a_restart_takes_the_process_over_and_it_takes_no_word_from_outside(trees: dict[str, ast.AST]) -> None:
    found = {
        path: [ast.unparse(call) for call in calls(tree) if name(call.func).startswith(("os.exec", "os.spawn"))]
        for path, tree in trees.items()
    }
    assert {path for path, made in found.items() if made} == TAKES_THE_PROCESS_OVER
    assert found["supervise/restart.py"] == ["os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])"]


def test_a_program_that_is_started_is_a_module_of_the_agent_that_the_code_names(trees: dict[str, ast.AST]) -> None:
    specs = [(tree, call) for tree in trees.values() for call in calls(tree) if name(call.func) == "ChildSpec"]
    assert len(specs) >= 4
    for tree, call in specs:
        module = call.args[1] if len(call.args) > 1 else next(k.value for k in call.keywords if k.arg == "module")
        if isinstance(module, ast.Name):  # a constant of the file
            module = next(
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and name(node.targets[0]) == module.id
            )
        assert isinstance(module, ast.Constant), ast.unparse(call)
        assert str(module.value).startswith("agent."), ast.unparse(call)
