"""The house: what may lie where, and how classes relate."""

import ast
import itertools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "twinjax"
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "conf",
    "constraints.txt",
    "docs",
    "experiments",
    "notebooks",
    "pyproject.toml",
    "tests",
    "twinjax",
}
# Config groups that configure no package of their own name.
OTHER_GROUPS = {"cohort", "experiment", "prior"}
# Config groups for a part of a package of another name.
GROUP_HOMES = {
    "calibrator": "calibration",
    "closure": "model",
    "dicom": "imaging/dicom",
    "hydra": "sweep",
    "recommendation": "twin",
    "segmentation": "imaging/segmentation",
    "tracking": "job/tracking",
}
# What pages say to run and where they lead, of this repository; and code in which brackets are no links.
SCRIPT = re.compile(r"\bpython ((?:experiments|benchmarks)/\S+?\.py)")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
CLASS_KINDS = ("Protocol", "Enum", "IntEnum", "StrEnum", "NamedTuple", "TypedDict")


def repository_files() -> list[Path]:
    """Tracked files and new ones that git does not ignore, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def packages_with_code() -> list[Path]:
    return sorted(p for p in PACKAGE.iterdir() if p.is_dir() and any(f.stat().st_size for f in p.glob("*.py")))


def experiments() -> list[Path]:
    """The folders of `experiments/` that hold code."""
    return sorted({path.parent for path in (ROOT / "experiments").glob("*/*.py")})


def test_top_level_holds_only_what_belongs_there():
    assert {path.parts[0] for path in repository_files()} - TOP_LEVEL == set()


def test_no_file_names_a_folder_of_one_machine():
    local = re.compile(r"(?<![\w.])/(" + "|".join(["work", "root", "home", "Users"]) + r")/\w")
    found = []
    for path in repository_files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path}:{i}" for i, line in enumerate(text.splitlines(), 1) if local.search(line)]
    assert found == []


def test_every_config_group_has_a_home():
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    modules = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    homeless = {g for g in groups - modules - OTHER_GROUPS if not (PACKAGE / GROUP_HOMES.get(g, g)).is_dir()}
    assert homeless == set()


@pytest.mark.parametrize("package", packages_with_code(), ids=lambda path: path.name)
def test_every_package_is_a_package_and_has_tests(package):
    assert (package / "__init__.py").is_file()
    assert list((ROOT / "tests" / package.name).rglob("test_*.py")) != []


def test_import_contracts_name_every_package():
    allowed = {
        "imaging": {"twinjax.imaging"},
        "hydra": {"twinjax.app", "twinjax.sweep"},
        "flax": {"twinjax.network"},
    }
    modules = {f"twinjax.{path.stem}" for path in [*packages_with_code(), *PACKAGE.glob("[a-z]*.py")]}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    sources = {
        contract["id"]: set(contract["source_modules"]) for contract in contracts if "source_modules" in contract
    }
    assert sources == {name: modules - homes for name, homes in allowed.items()}


@pytest.mark.parametrize("folder", experiments(), ids=lambda path: path.name)
def test_every_experiment_says_how_it_is_run_and_is_listed(folder):
    pages = [page.read_text(encoding="utf-8") for page in (folder / "README.md", folder.parent / "README.md")]
    own = [[script for script in SCRIPT.findall(page) if Path(script).parent.name == folder.name] for page in pages]
    assert all(own)


def test_what_pages_say_to_run_and_link_to_is_there():
    pages = [path for path in repository_files() if path.suffix == ".md"]
    scripts, links = [], []
    for path in pages:
        text = (ROOT / path).read_text(encoding="utf-8")
        scripts += [(path, ROOT / script) for script in SCRIPT.findall(text)]
        links += [(path, ROOT / path.parent / link) for link in LINK.findall(CODE.sub("", text))]
    assert len(scripts) > 20 and len(links) > 50
    assert [f"{path}: {place}" for path, place in scripts + links if not place.exists()] == []


def test_test_modules_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_every_tier_has_a_run_and_ci_leaves_out_the_slow_alone():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    runs = {"test": options["addopts"][-1]}
    runs |= dict(re.findall(r'^(thorough|validate): .*\n\t.* pytest .*-m "([^"]+)"$', makefile, re.MULTILINE))
    assert len(runs) == 3
    for slow, thorough in itertools.product([False, True], repeat=2):
        chosen = {run for run, words in runs.items() if eval(words, {"slow": slow, "thorough": thorough})}
        assert chosen & {"test", "thorough"} if not slow else chosen == {"validate"}
        assert not thorough or "validate" in chosen
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (\w+)", commands, re.MULTILINE) == ["test", "thorough", "check", "docs"]


def test_no_concrete_class_is_subclassed():
    bases: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]

    def may_be_subclassed(name: str) -> bool:
        if name.lstrip("_").startswith("Abstract") or name in (*CLASS_KINDS, "Exception"):
            return True
        return any(base in CLASS_KINDS for base in bases.get(name, [])) or is_error(name)

    def is_error(name: str) -> bool:
        return name == "Exception" or any(is_error(base) for base in bases.get(name, []))

    assert len(bases) > 10
    wrong = [f"{child}({base})" for child in bases for base in bases[child] if base in bases]
    assert [pair for pair in wrong if not may_be_subclassed(pair.split("(")[1][:-1])] == []
