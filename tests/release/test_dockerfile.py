"""The image has few rights and is made of what is there; what starts several of it holds no secret."""

import re
import tomllib
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from luma_mcp.core.settings import Settings, variable_name
from tests.support.dockerfile import DOCKERFILE, copy_of, image_of, instructions

CHECKOUT = Path(__file__).parents[2]
RELEASE = CHECKOUT / "luma_mcp" / "release"
TEXT = DOCKERFILE.read_text(encoding="utf-8")
IMAGE = image_of(TEXT)
REPLICAS = ("luma-1", "luma-2")
SECRET = re.compile(r"(?i)password|token|key|://\w+:")


def compose() -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe", pure=True).load(RELEASE / "compose.yaml")
    return read


def secret_files() -> set[str]:
    """Name the files that hold secrets, as the compose file does."""
    told = compose()
    env_files = {file for service in told["services"].values() for file in service.get("env_file", [])}
    return env_files | {secret["file"] for secret in told["secrets"].values()}


def test_the_image_runs_under_a_number_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", IMAGE.user)


def test_the_image_starts_and_is_checked_without_a_shell() -> None:
    assert IMAGE.command == ["luma-mcp"]
    assert IMAGE.health_check[:2] == ["python", "-c"]
    assert f"127.0.0.1:{IMAGE.port}/healthz" in IMAGE.health_check[2]
    compile(IMAGE.health_check[2], "the health check", "exec")


def test_what_the_image_sets_are_settings_of_the_server() -> None:
    known = {variable_name(field, name) for name, field in Settings.model_fields.items()}
    assert {name for name in IMAGE.environment if name.startswith("LUMA_MCP_")} <= known


def test_all_that_is_copied_is_there_and_let_through() -> None:
    ignored = (RELEASE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    sources = {
        source for word, rest in instructions(TEXT) if word == "COPY" and not copy_of(rest).stage
        for source in copy_of(rest).sources
    }  # fmt: skip
    assert all((CHECKOUT / source).exists() for source in sources)
    assert {f"!{source}" for source in sources} == {line for line in ignored if line.startswith("!")}


def test_the_image_has_all_extras_but_the_one_that_looks_into_videos() -> None:
    pyproject = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    (wanted,) = re.findall(r"/src\[([\w,]+)\]", TEXT)
    assert {*wanted.split(","), "preview"} == pyproject["project"]["optional-dependencies"].keys()


def test_two_replicas_wait_for_the_database_and_the_proxy_for_them() -> None:
    services = compose()["services"]
    assert services.keys() == {*REPLICAS, "postgres", "nginx"}
    for name in REPLICAS:
        assert services[name]["build"]["dockerfile"] == "luma_mcp/release/Dockerfile"
        assert (RELEASE / services[name]["build"]["context"] / services[name]["build"]["dockerfile"]).samefile(
            DOCKERFILE
        )
        assert services[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["nginx"]["depends_on"] == {name: {"condition": "service_healthy"} for name in REPLICAS}


def test_every_service_can_be_watched_and_none_can_change_its_own_files() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True
        assert name in REPLICAS or service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


def test_only_the_proxy_is_open_to_the_outside() -> None:
    assert {name for name, service in compose()["services"].items() if "ports" in service} == {"nginx"}


def test_no_secret_stands_in_the_compose_file_and_none_gets_into_the_image_or_the_repository() -> None:
    services = compose()["services"].values()
    given = {name: value for service in services for name, value in service.get("environment", {}).items()}
    assert {name for name, value in given.items() if SECRET.search(f"{name}={value}")} == {"POSTGRES_PASSWORD_FILE"}
    assert all(file.startswith("secrets/") for file in secret_files())
    assert "**/secrets" in (RELEASE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "secrets/" in (CHECKOUT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_proxy_leads_to_the_replicas_of_the_compose_file() -> None:
    nginx = (RELEASE / "nginx.conf").read_text(encoding="utf-8")
    assert re.findall(r"server (\S+):8000", nginx) == list(REPLICAS)
    assert compose()["services"]["nginx"]["ports"] == ["443:8443"]
    assert "listen 8443 ssl;" in nginx
    used = {f"/run/secrets/{name}" for name in compose()["services"]["nginx"]["secrets"]}
    assert set(re.findall(r"/run/secrets/[\w-]+", nginx)) == used
