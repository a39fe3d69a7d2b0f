"""Claim: the tests catch at least nine of ten random changes of the core that change what it computes.

One change at a time is made in a copy of the package, and the tests that run through the changed line are run, the
quickest first, until one fails. A run that takes much longer than it should counts as caught. What no test catches is
either equivalent, with the reason in results/mutation_equivalent.json, or a hole. Finished rows are kept in --out.

The copy of the package is made once, in --work; so is the map of which test runs through which line, by the package
`coverage`, to which tests that it does not know yet are added. Tests that fail on the unchanged copy are left out.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from benchmarks.figures import sentence_of
from benchmarks.measure import table

ROOT = Path(__file__).parent.parent
CORE = ("solve.py", "problem.py", "threats", "rules", "objectives", "attacks", "evaluation")
# Tests of other parts, and those that start processes of their own, which are not followed.
LEFT_OUT = (
    "tests/flash",
    "tests/test_cli_flash.py",
    "tests/test_architecture.py",
    "tests/test_docs.py",
    "tests/test_demo.py",
    "tests/test_claims.py",
    "tests/test_readme_commands.py",
)
EQUIVALENT = ROOT / "benchmarks" / "results" / "mutation_equivalent.json"
SHARE = 0.9
PATIENCE = 10  # times as long as a test took unchanged, and half a minute: then the change counts as caught

COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
            ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}  # fmt: skip
COMPUTED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*", ast.Pow: "*",
            ast.BitAnd: "|", ast.BitOr: "&"}  # fmt: skip
NAMES = {"min": "max", "amin": "amax", "argmin": "argmax", "clamp_min": "clamp_max", "minimum": "maximum",
         "floor": "ceil", "any": "all", "ones_like": "zeros_like", "ones": "zeros", "cummin": "cummax"}  # fmt: skip
NAMES |= {new: old for old, new in NAMES.items()}


@dataclass(frozen=True)
class Mutant:
    """One change of one place: what stands from `start` to `end` (offsets in the file) is replaced by `new`."""

    file: str
    line: int
    start: int
    end: int
    operator: str
    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}: {self.operator}: {self.old!r} -> {self.new!r}"


def sites(file: str, text: str) -> list[Mutant]:
    """Every place of a file where an operator applies; annotations, docstrings and what is raised are left alone."""
    return sorted(set(_Sites(file, text).found()), key=lambda one: (one.start, one.end, one.new))


class _Sites:
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        lines = text.splitlines(keepends=True)
        self.begin = [0]
        for line in lines:
            self.begin.append(self.begin[-1] + len(line))
        self.lines = [line.encode() for line in lines]

    def found(self) -> Iterator[Mutant]:
        yield from self._of(ast.parse(self.text))

    def _at(self, line: int, column: int) -> int:
        return self.begin[line - 1] + len(self.lines[line - 1][:column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _change(self, node: ast.expr | ast.stmt, operator: str, new: str) -> Mutant:
        start, end = self._span(node)
        return Mutant(self.file, node.lineno, start, end, operator, self.text[start:end], new)

    def _between(self, left: ast.expr, right: ast.expr, operator: str, new: str) -> Mutant:
        """Replaces the operator that stands between two expressions, brackets left alone."""
        start, end = self._span(left)[1], self._span(right)[0]
        gap = self.text[start:end]
        old = gap.strip(" ()\n\t\\")
        begin = start + gap.index(old)
        return Mutant(self.file, left.end_lineno or 0, begin, begin + len(old), operator, old, new)

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)):
            return
        yield from self._own(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._of(child)

    def _own(self, node: ast.AST) -> Iterator[Mutant]:
        text = self.text
        match node:
            case ast.Compare(left=left, ops=ops, comparators=others):
                for before, operator, after in zip([left, *others], ops, others, strict=False):
                    yield self._between(before, after, "comparison", COMPARED[type(operator)])
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in COMPUTED:
                if not _type_union(node):
                    yield self._between(left, right, "arithmetic", COMPUTED[type(operator)])
            case ast.BoolOp(op=operator, values=values):
                for before, after in pairwise(values):
                    yield self._between(before, after, "boolean", "or" if isinstance(operator, ast.And) else "and")
            case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=operand):
                start, end = self._span(operand)
                yield self._change(node, "unary", text[start:end])
            case ast.Constant(value=bool() as value):
                yield self._change(node, "constant", str(not value))
            case ast.Constant(value=int() as value):
                yield self._change(node, "constant", str(value + 1))
            case ast.Constant(value=float() as value):
                yield self._change(node, "constant", repr(value * 2 if value else 1.0))
            case ast.Call(func=ast.Attribute(attr=name) as function) if name in NAMES:
                end = self._span(function)[1]
                yield Mutant(self.file, node.lineno, end - len(name), end, "name", name, NAMES[name])
            case ast.Call(func=ast.Name(id=name) as function) if name in NAMES:
                yield self._change(function, "name", NAMES[name])
            case ast.Call(func=ast.Attribute(attr="where"), args=[_, one, other]):
                (a, b), (c, d) = self._span(one), self._span(other)
                yield Mutant(self.file, node.lineno, a, d, "branches", text[a:d], text[c:d] + text[b:c] + text[a:b])
            case ast.Call(func=ast.Attribute(attr="where"), args=[which, _]):
                start, end = self._span(which)
                yield self._change(which, "branches", f"~({text[start:end]})")
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                if "TYPE_CHECKING" not in ast.unparse(test):
                    start, end = self._span(test)
                    yield self._change(test, "condition", f"(not ({text[start:end]}))")
            case ast.AugAssign() | ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
                yield self._change(node, "statement", "pass")


def _type_union(node: ast.BinOp) -> bool:
    """Whether it is a type such as `int | None`, which is no arithmetic."""
    words = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
    none = any(isinstance(leaf, ast.Constant) and leaf.value is None for leaf in ast.walk(node))
    return isinstance(node.op, ast.BitOr) and (none or bool(words & {"Tensor", "int", "str", "float", "Path"}))


def every(source: Path) -> list[Mutant]:
    """All places of the core, file by file."""
    files = [
        path
        for part in CORE
        for path in ([source / part] if part.endswith(".py") else sorted((source / part).rglob("*.py")))
    ]
    return [one for path in files for one in sites(str(path.relative_to(source)), path.read_text())]


def sample(places: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many at random: those whose hashes come first, so that an edit elsewhere leaves the others where they are."""
    seen: Counter[str] = Counter()
    order = []
    for one in places:
        said = f"{seed} {one.file} {one.operator} {one.old} {one.new}"
        seen[said] += 1
        order.append((hashlib.sha256(f"{said} {seen[said]}".encode()).hexdigest(), one))
    return [one for _, one in sorted(order, key=lambda pair: pair[0])[:count]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--part", default="0/1", help="every n-th of them, as in 0/4; each needs a --work of its own")
    parser.add_argument("--seconds", type=float, default=1e9, help="of tests a change, the quickest first")
    parser.add_argument("--again", action="store_true", help="run once more what was not caught")
    parser.add_argument("--report", action="store_true", help="no more than the report of what is there")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/mutation.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/mutation"), help="the copy, and the map")
    chosen = parser.parse_args(arguments)
    copy = Copy(chosen.work)
    places = every(copy.tree / "src" / "sparring")
    drawn = sample(places, chosen.count, chosen.seed)
    kinds = dict(Counter(one.operator for one in drawn))
    print(f"{len(places)} places, {chosen.count} drawn with seed {chosen.seed}: {kinds}")
    done = (
        {row["name"]: row for row in map(json.loads, chosen.out.read_text().splitlines())}
        if chosen.out.exists()
        else {}
    )
    wanted = [one for one in drawn if one.name not in done or (chosen.again and not done[one.name]["caught"])]
    if wanted and not chosen.report:
        copy.follow()
        first, step = map(int, chosen.part.split("/"))
        for one in wanted[first::step]:
            row = {"name": one.name, **asdict(one), **copy.tried(one, chosen.seconds)}
            done[one.name] = row
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            with chosen.out.open("a") as file:
                print(json.dumps(row), file=file)
            print(
                f"{'caught' if row['caught'] else 'SURVIVED'}: {one.name} ({row['by']}, {row['seconds']} s)", flush=True
            )
    report([done[one.name] for one in drawn if one.name in done], len(places), chosen.seed)


def report(rows: Sequence[Mapping[str, object]], places: int, seed: int) -> None:
    reasons = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    equal = [row for row in rows if not row["caught"] and row["name"] in reasons]
    left = [row for row in rows if not row["caught"] and row["name"] not in reasons]
    caught = len(rows) - len(equal) - len(left)
    lines = []
    for operator in sorted({str(row["operator"]) for row in rows}):
        of = [[row for row in part if row["operator"] == operator] for part in (rows, equal, left)]
        lines.append((operator, len(of[0]), len(of[0]) - len(of[1]) - len(of[2]), len(of[1]), len(of[2])))
    table("Random changes of the core", ("operator", "tried", "caught", "equivalent", "missed"), lines)
    for row in left:
        print(f"missed: {row['name']}")
    share = caught / max(1, len(rows) - len(equal))
    print(f"caught {caught} of {len(rows) - len(equal)}, {share:.1%}: {'met' if share >= SHARE else 'NOT MET'}")
    words = f"{caught} of {len(rows) - len(equal)} caught ({100 * share:.1f} %), {len(equal)} more are equivalent; "
    sentence_of("mutation", words + f"{len(rows)} of {places:,} places, seed {seed}", "accuracy")


class Copy:
    """A copy of package and tests, in which one change at a time is made."""

    def __init__(self, work: Path) -> None:
        self.work = work.resolve()
        self.tree = self.work / "tree"
        self.fresh: set[str] = set()  # tests of which no earlier change has been tried, so that they come first
        self.map: dict[str, Any] = {"lines": {}, "seconds": {}, "failed": []}
        hidden = shutil.ignore_patterns("__pycache__")
        if not (self.tree / "src").exists():
            shutil.copytree(ROOT / "src", self.tree / "src", ignore=hidden)
        shutil.rmtree(self.tree / "tests", ignore_errors=True)
        for name in ("tests", "benchmarks", "docs"):
            shutil.copytree(ROOT / name, self.tree / name, ignore=hidden, dirs_exist_ok=True)
        for name in ("pyproject.toml", "README.md", "Makefile"):
            shutil.copy(ROOT / name, self.tree / name)

    def follow(self) -> None:
        """Measure which tests run through which lines, of the tests that are not known yet."""
        kept = self.work / "map.json"
        if kept.exists():
            self.map = json.loads(kept.read_text())
        there = _collected(self.tree)
        new = sorted(test for test in there - set(self.map["seconds"]) if not test.startswith(LEFT_OUT))
        self.fresh = set(new)
        if new:
            found = _followed(self.tree, self.work / "followed", new)
            self.map["seconds"] |= found["seconds"]
            self.map["failed"] += found["failed"]
            for line, tests in found["lines"].items():
                self.map["lines"].setdefault(line, []).extend(tests)
            kept.write_text(json.dumps(self.map))
        self.map["failed"] += [test for test in self.map["seconds"] if test not in there]  # renamed since

    def tried(self, mutant: Mutant, most: float) -> dict[str, object]:
        """Whether a test fails that runs through the changed line."""
        tests = self._through(mutant)
        known = set(tests) - set(self.map["failed"])
        tests = sorted(known, key=lambda test: (test not in self.fresh, self.map["seconds"].get(test, 1.0)))
        if not tests:
            return {"caught": False, "by": "no test runs through it", "seconds": 0, "tests": 0}
        path = self.tree / "src" / "sparring" / mutant.file
        before = path.read_text()
        path.write_text(before[: mutant.start] + mutant.new + before[mutant.end :])
        clock = time.monotonic()
        seconds = {test: self.map["seconds"].get(test, 1.0) for test in tests}
        spent = list(accumulate(seconds.values()))
        seconds = {test: seconds[test] for test, sofar in zip(tests, spent, strict=True) if sofar <= most}
        try:
            failed = _run(self.tree, seconds)
        finally:
            path.write_text(before)
        return {
            "caught": bool(failed),
            "by": failed or "",
            "seconds": round(time.monotonic() - clock),
            "tests": len(tests),
        }

    def _through(self, mutant: Mutant) -> list[str]:
        """The tests that run through the line, or the statement it goes on with; of a default, those of the file."""
        for line in range(mutant.line, max(0, mutant.line - 10), -1):
            if f"{mutant.file}:{line}" in self.map["lines"]:
                if found := self.map["lines"][f"{mutant.file}:{line}"]:
                    return list(found)
                break  # it ran when the file was imported, and not in a test
        return sorted(
            {test for at, found in self.map["lines"].items() if at.startswith(f"{mutant.file}:") for test in found}
        )


def _run(tree: Path, tests: Mapping[str, float]) -> str:
    """The first test that fails, or takes too long, "" where none does; in a fork, which has imported torch already."""
    with tempfile.NamedTemporaryFile() as told:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _child(tree, tests, told.name)
        os.waitpid(child, 0)
        return Path(told.name).read_text()


def _child(tree: Path, tests: Mapping[str, float], told: str) -> None:
    """Runs the tests of a tree in this process, writes the first that fails, and ends."""
    import pytest

    def late(*_: Any) -> None:
        os.kill(0, signal.SIGKILL)  # with all that the test has started

    class First:
        @staticmethod
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
            Path(told).write_text(f"{item.nodeid} takes too long")
            signal.alarm(30 + int(PATIENCE * tests.get(item.nodeid, 1.0)))
            yield
            signal.alarm(0)
            if Path(told).read_text().endswith("takes too long"):
                Path(told).write_text("")

        @staticmethod
        def pytest_runtest_logreport(report: pytest.TestReport) -> None:
            if report.failed:
                Path(told).write_text(report.nodeid)

        @staticmethod
        def pytest_collectreport(report: pytest.CollectReport) -> None:
            if report.failed:
                Path(told).write_text(f"collecting {report.nodeid}")

    signal.signal(signal.SIGALRM, late)
    os.chdir(tree)
    sys.path[:0] = [str(tree / "src"), str(tree)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("sparring", "benchmarks")]:
        del sys.modules[name]
    out = os.open(os.devnull, os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = tempfile.mkdtemp()
    code = 99
    try:
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[First()])
        if code not in (0, 5) and not Path(told).read_text():
            Path(told).write_text(f"pytest ended with {code}")
    except BaseException as error:
        Path(told).write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _collected(tree: Path) -> set[str]:
    """The names of all tests that there are."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-o", "addopts=-q --import-mode=importlib"]
    place = os.environ | {"PYTHONPATH": f"{tree / 'src'}:{tree}"}
    done = subprocess.run(command, cwd=tree, env=place, capture_output=True, text=True)
    return {line for line in done.stdout.splitlines() if "::" in line}


def _followed(tree: Path, kept: Path, tests: Sequence[str]) -> dict[str, Any]:
    """Which of these tests run through a line of the core, how long each takes, and which fail."""
    settings = tree / ".coveragerc"
    settings.write_text(f"[run]\nsource = {tree / 'src'}\ndata_file = {kept}.coverage\n")
    (tree / "following.py").write_text(FOLLOWING)
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", "-p", "following"]
    place = {"PYTHONPATH": f"{tree / 'src'}:{tree}", "OMP_NUM_THREADS": "1", "SECONDS": f"{kept}.seconds"}
    subprocess.run([*command, "-p", "no:cacheprovider", *tests], cwd=tree, env=os.environ | place, check=False)
    import coverage

    data = coverage.CoverageData(f"{kept}.coverage")
    data.read()
    lines: dict[str, list[str]] = {}
    for file in data.measured_files():
        inside = Path(file).relative_to(tree / "src" / "sparring")
        if inside.parts[0] in CORE:
            for line, tests in data.contexts_by_lineno(file).items():
                lines[f"{inside}:{line}"] = [test for test in tests if test]
    return {"lines": lines, **json.loads(Path(f"{kept}.seconds").read_text())}


# A plugin of pytest: the name of the test is the context of coverage, and its seconds are kept.
FOLLOWING = """
import json, os
import coverage, pytest

told = {"seconds": {}, "failed": []}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    coverage.Coverage.current().switch_context(item.nodeid)
    yield


def pytest_runtest_logreport(report):
    if report.failed:
        told["failed"].append(report.nodeid)
    told["seconds"][report.nodeid] = told["seconds"].get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish():
    with open(os.environ["SECONDS"], "w") as file:
        json.dump(told, file)
"""


if __name__ == "__main__":
    import torch  # noqa: F401  # once, for all forks

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the copy is put in order before it ends

    main()
