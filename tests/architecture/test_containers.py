"""What the container files promise each other, as far as it shows without an engine."""

import re
from fnmatch import fnmatch
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]


def _lines(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text("utf-8").splitlines() if line and not line.startswith("#")]


def test_the_build_gets_what_it_copies_and_no_more():
    """An image without a module fails when it is run; a context with secrets or `.venv` fails later still."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text("utf-8"), re.MULTILINE)
    everything, *exceptions = _lines(".dockerignore")

    assert everything == "*"
    assert {f"!{source}" for line in copies for source in line.split()} == {e for e in exceptions if e.startswith("!")}
    assert all((ROOT / source).exists() for line in copies for source in line.split())


def test_the_image_is_built_from_one_base_pinned_by_digest():
    """A tag names another image tomorrow. Dependabot reads only FROM, so a digest in ARG or in a workflow grows old."""
    recipe = (ROOT / "deploy/Dockerfile").read_text("utf-8")
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    build = next(step for step in workflow["jobs"]["image"]["steps"] if "build-push" in step.get("uses", ""))
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]
    compose = "".join(file.read_text("utf-8") for file in ROOT.glob("deploy/**/compose.yaml"))

    first, *others = re.findall(r"^FROM (.+)$", recipe, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64} AS base", first)
    assert others == ["base AS build", "base"]
    assert build["with"]["file"] == "deploy/Dockerfile"
    assert "build-contexts" not in build["with"]
    assert set(re.findall(r"dockerfile: (.*)", compose)) == {"deploy/Dockerfile"}
    assert {(update["package-ecosystem"], update["directory"]) for update in updates} == {
        ("docker", "/deploy"),
        ("github-actions", "/"),
        ("uv", "/"),
    }


def test_the_image_compiles_its_files_in_a_mode_that_exists():
    """Python refuses another spelling when uv compiles the files: the image does not build."""
    mode = re.search(r"PYC_INVALIDATION_MODE=(\S+)", (ROOT / "deploy/Dockerfile").read_text("utf-8"))[1]

    assert mode in PycInvalidationMode.__members__


def test_one_version_of_uv_installs_everywhere():
    """Another version may read the lock file differently: what was tested is not what runs."""
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    texts = "".join((ROOT / file).read_text("utf-8") for file in ("deploy/Dockerfile", "docs/how-to/systemd.md"))

    assert set(re.findall(r"uv==(\S+)", texts)) == {version}


def test_the_image_runs_as_a_numeric_user():
    """Kubernetes' `runAsNonRoot` refuses a user by name."""
    assert re.search(r"^USER \d+$", (ROOT / "deploy/Dockerfile").read_text("utf-8"), re.MULTILINE)


def test_each_action_of_the_workflows_is_pinned_by_its_commit():
    """A tag of an action can be moved to code that reads the release's token."""
    used = [
        action
        for workflow in (ROOT / ".github/workflows").glob("*.yml")
        for action in re.findall(r"uses: (.*)", workflow.read_text("utf-8"))
    ]

    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action)] == []


def test_the_files_with_secrets_are_kept_out_of_git():
    """The first `git add .` after `docker compose up` would publish them."""
    secrets, ignored = [f"/deploy/{SERVICES['service']['env_file']}", ".env"], _lines(".gitignore")

    assert [secret for secret in secrets if not any(fnmatch(secret, line) for line in ignored)] == []


def test_each_program_has_the_login_of_its_role():
    """A program that faces the internet as superuser gives whoever breaks in everything."""
    logins = {
        name: re.search(r"//(\w+):", service["environment"]["DATABASE_URL"])[1]
        for name, service in SERVICES.items()
        if "DATABASE_URL" in service.get("environment", {})
    }

    assert logins == {
        "migrate": "asleep_owner",
        "service": "receiver_1",
        "daemon": "pipeline_1",
        "webserver": "pipeline_1",
    }
    made = (ROOT / "deploy/postgres/logins.sql").read_text("utf-8")
    assert all(f"CREATE ROLE {login} LOGIN" in made for login in logins.values())


def test_the_ui_reaches_the_runs_that_the_daemon_started():
    """Both start a code server; to end a run the UI asks the daemon's, by a socket in /tmp."""
    daemon, ui = (SERVICES[name] for name in ("daemon", "webserver"))

    assert set(daemon["volumes"]) == set(ui["volumes"]) == {"dagster:/app/.data", "tmp:/tmp"}
    assert daemon["tmpfs"] == ui["tmpfs"] == []
    unit = (ROOT / "deploy/systemd/asleep-sync-webserver.service").read_text("utf-8")
    assert "\nJoinsNamespaceOf=asleep-sync-daemon.service\n" in unit


def test_postgres_is_healthy_only_when_others_can_reach_it():
    """While it makes the database, its image runs a server that answers on the socket alone and is stopped again."""
    test = SERVICES["postgres"]["healthcheck"]["test"]

    assert test[test.index("-h") + 1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("request_line", "is_refused"),
    [
        ("GET::/graphql", True),
        ("HEAD::/graphql/", True),
        ("GET:h2c:/graphql", True),
        ("GET:WebSocket:/graphql", False),
        ("POST::/graphql", False),
        ("GET::/runs", False),
    ],
)
def test_the_proxy_before_the_ui_refuses_graphql_by_get_only(request_line: str, is_refused: bool):
    """The UI's websocket has the same path: without it, pages of runs do not follow them."""
    page = (ROOT / "docs/explanation/security.md").read_text("utf-8")
    pattern = re.search(r'^map "\$request_method:\$http_upgrade:\$uri" .* "~\*(.*)" 1; }$', page, re.MULTILINE)[1]

    assert bool(re.search(pattern, request_line, re.IGNORECASE)) == is_refused


def test_the_steps_for_systemd_make_what_the_units_need():
    """A unit whose settings nobody made does not start, with an error that names no cause."""
    page = (ROOT / "docs/how-to/systemd.md").read_text("utf-8")
    units = {path.name: path.read_text("utf-8") for path in (ROOT / "deploy/systemd").glob("*.service")}

    for name, unit in units.items():
        assert name.removesuffix(".service") in page
        for file in re.findall(r"^EnvironmentFile=(\S+)$", unit, re.MULTILINE):
            assert f"> {file}\n" in page or f" {file}\n" in page, f"{file} of {name}"
        assert "User=asleep-sync" in unit.splitlines()
    for path in set(re.findall(r"/opt/asleep-sync/((?:deploy|\.env)[\w./-]*\w)", page)):
        assert (ROOT / path).exists(), path


def test_the_steps_for_systemd_come_in_an_order_that_works():
    """Without its role's rights the pipeline cannot make Dagster's tables; a database in use cannot be renamed."""
    install, _, back = (ROOT / "docs/how-to/systemd.md").read_text("utf-8").partition("## Roll back")

    steps = ["owner migrate", "roles.sql", "dagster instance info", "systemctl enable", "users import", "doctor"]
    assert sorted(steps, key=install.index) == steps
    stopped = re.search(r"^systemctl stop (.*)$", back, re.MULTILINE)[1].split()
    assert set(stopped) == {path.stem for path in (ROOT / "deploy/systemd").glob("*.service")}
    assert back.index("systemctl stop") < back.index("RENAME TO")
