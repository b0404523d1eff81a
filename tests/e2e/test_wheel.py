"""What `pipx install` gets: the wheel holds the program with all of its data."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = "from shaper.cli import main; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = directory.glob("*.whl")
    return path


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("shaper", "federation")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert not wanted - inside
    assert {"shaper/feedback/outcomes.toml", "shaper/ledger/lua/save.lua"} <= inside
    # What `mailshaper setup` prints.
    assert "shaper/share/postfix/reinject.sh" in inside
    assert "shaper/share/exim/conf.d/router/190_mailshaper" in inside
    assert "shaper/share/exim-policy/conf.d/acl/10_mailshaper_policy" in inside


def test_the_command_runs_from_the_wheel_alone(wheel, tmp_path):
    """Not from the checkout: the wheel comes first, and the directory is another."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    config = tmp_path / "mailshaper.toml"
    config.write_text("[daemon]\n", encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
        "import shaper.cli; print(shaper.cli.__file__); shaper.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check-config", "--config", config],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path))


def test_the_federation_runs_from_the_wheel_by_its_entry_point(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    config = tmp_path / "federation.toml"
    config.write_text(
        f'[node]\nstate_directory = "{tmp_path}/state"\n', encoding="utf-8"
    )
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
        "import shaper.cli, federation; print(federation.__file__); shaper.cli.main()"
    )

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", program, "federation", "--config", config, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    made = run("init", "--name", "Our club", "--network", "test")
    assert made.startswith(str(tmp_path / "site"))
    assert "Our club" in run("status")
    checked = run("conformance", "--group", "addr", "--", *_serving(tmp_path))
    assert "passed" in checked
    assert "failed" not in checked


def _serving(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
        "from federation.cli import main; main()"
    )
    return [sys.executable, "-c", program, "conformance", "--serve"]


def test_a_missing_redis_is_explained(tmp_path):
    config = tmp_path / "mailshaper.toml"
    config.write_text(
        f'[daemon]\nstate_directory = "{tmp_path}/state"\n'
        f'runtime_directory = "{tmp_path}/run"\n',
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "daemon", "--config", config],
        env={"PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 71
    assert "apt install redis-server" in done.stderr
