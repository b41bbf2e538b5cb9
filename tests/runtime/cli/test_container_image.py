"""The recipe of the container image: its steps run without Docker, in folders of this test."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECIPE = ROOT / "runtime" / "Dockerfile"
INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, after those before the first one: name and the rest of the line."""
    found: list[list[tuple[str, str]]] = [[]]
    lines = [line for line in RECIPE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, rest = line.split(maxsplit=1)
        assert name in INSTRUCTIONS, line
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest.strip()))
    return found


def only(stage: list[tuple[str, str]], name: str) -> str:
    (value,) = [rest for each, rest in stage if each == name]
    return value


def test_the_image_runs_as_an_ordinary_user_and_has_a_health_check() -> None:
    before, build, final = stages()
    assert before == [("ARG", "PYTHON=3.13")]
    assert only(build, "FROM") == "python:${PYTHON}-slim AS build"
    assert only(final, "FROM") == "python:${PYTHON}-slim"
    assert only(build, "ARG") == "EXTRAS=video"
    assert json.loads(only(final, "ENTRYPOINT")) == ["cae-run"]
    assert only(final, "USER") == "10001:10001"
    assert only(final, "COPY") == "--from=build /environment /environment"
    assert "pip uninstall --yes pip" in only(final, "RUN")
    order = [name for name, _ in final]
    assert order.index("RUN") < order.index("USER") < order.index("ENTRYPOINT"), "only root may add a user"
    assert json.loads(only(final, "HEALTHCHECK").split("CMD")[1]) == ["cae-run", "--doctor"]
    for _, line in (pair for stage in (build, final) for pair in stage if pair[0] == "RUN"):
        if os.name != "nt":
            subprocess.run(["sh", "-n", "-c", line], check=True)


def sent() -> list[str]:
    """Return the files of the repository that `docker build` gets."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = (ROOT / "runtime" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    return [path for path in listed.splitlines() if any(path == rule or path.startswith(f"{rule}/") for rule in kept)]


def test_the_docker_context_contains_exactly_what_the_wheel_needs() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = sent()
    for needed in ("pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]):
        assert needed in files
    folders = {Path(path).parts[0] + "/" + Path(path).parts[1] for path in files if "/" in path}
    assert folders == set(packages)
    assert sum((ROOT / path).stat().st_size for path in files) < 20 * 2**20


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the steps are those of a POSIX shell")
def test_the_build_steps_give_a_healthy_environment(tmp_path: Path) -> None:
    source, wheels, home = (tmp_path / name for name in ("src", "wheels", "cae"))
    for path in sent():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    _, build, final = stages()
    # Its dependencies are those of this environment: downloading them would take minutes.
    steps = [line for name, line in build if name == "RUN" and "headless" not in line]
    assert len(steps) == 3
    pip = f"{shlex.quote(sys.executable)} -m pip"
    for step in steps:
        line = step.replace("/wheels", str(wheels)).replace("/environment", str(home))
        line = re.sub(r"^pip\b", pip, re.sub(r"^python\b", shlex.quote(sys.executable), line))
        environment = {"EXTRAS": "video"} | ({"PIP_NO_DEPS": "1"} if "install" in line else {})
        done = subprocess.run(
            ["sh", "-ec", line], cwd=source, env=os.environ | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert [fnmatch(path.name, "cae_toolkit-*.whl") for path in wheels.iterdir()] == [True]
    assert not [path.name for path in (home / "bin").iterdir() if path.name.startswith("pip")]
    check = json.loads(only(final, "HEALTHCHECK").split("CMD")[1])
    search = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": sysconfig.get_path("platlib")}
    done = subprocess.run(check, cwd=tmp_path, env=os.environ | search, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "problems\n  none" in done.stdout


def test_ci_builds_the_image_with_an_executable_script() -> None:
    workflow = (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")
    (job,) = re.findall(r"^  image:\n((?:    .*\n)+)", workflow, re.MULTILINE)
    assert re.findall(r"- run: (.*)", job) == [".ci/image"]
    script = ROOT / ".ci" / "image"
    assert os.name == "nt" or os.access(script, os.X_OK)
    assert f"--file {RECIPE.relative_to(ROOT).as_posix()} " in script.read_text(encoding="utf-8")
