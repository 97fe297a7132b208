"""The environment as one frozen, validated object: every variable, its form and its default. No other file reads it."""

import difflib
import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

from resources.asleep.http.network import check_proxy, trusted_authorities
from resources.database.engine import DatabaseUrlInvalid, database_url
from resources.database.first_day import EARLIEST_DAY

APP_ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder into which the packages are installed."""
IS_CHECKOUT = (APP_ROOT / "pyproject.toml").is_file()


def _parts(value: Any) -> Any:
    """The parts of a text that commas separate; any other value as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _secret_parts(value: Any) -> Any:
    if value and not _parts(value):
        raise ValueError("is set but holds no secret: unset it, or events would not be checked")
    return _parts(value)


def _header(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key.isascii() or any(map(str.isspace, key)):
        raise ValueError("a key may hold neither spaces nor characters outside ASCII")
    return value


def _date(value: Any) -> Any:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be a date such as 2025-01-31") from None


def _weekdays(value: Any) -> Any:
    parts = _parts(value)
    days = {int(part) for part in parts if str(part) in set("1234567")}
    if len(days) != len(parts) or not 1 <= len(days) <= len("123456"):
        raise ValueError("holds one to six ISO weekdays, 1 Monday to 7 Sunday, such as 6,7")
    return tuple(sorted(days))


def _network(value: str) -> str:
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError("holds addresses or networks, such as 10.0.0.7,172.16.0.0/12") from None


def _host(value: str) -> str:
    if not re.fullmatch(r"([\w.-]+|\[[0-9a-f:]+\])(:\d{1,5})?", host := value.lower()):
        raise ValueError("holds host names, each with or without a port, such as dagster.example.org")
    return host


def _day_of_the_api(value: date) -> date:
    if not EARLIEST_DAY <= value <= datetime.now(UTC).date():
        raise ValueError(f"lies between {EARLIEST_DAY} and today, such as 2025-01-31")
    return value


def _web_address(value: str) -> str:
    text = value.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
        parts.netloc.encode("idna")
    except ValueError:  # its text quotes the address
        parts, port = urlsplit(""), None
    is_one_word = text.isprintable() and not any(map(str.isspace, text))
    names_a_host = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    if not (is_one_word and names_a_host and "@" not in parts.netloc and "#" not in text):
        raise ValueError("must look like https://host or http://host:port, without a user name or fragment")
    return text


def _proxy(value: SecretStr) -> SecretStr:
    check_proxy(value.get_secret_value())
    return value


Keys = Annotated[tuple[Annotated[SecretStr, AfterValidator(_header)], ...], NoDecode, BeforeValidator(_parts)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_secret_parts)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_parts)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_parts)]
Weekdays = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_weekdays)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LongestRequest = Annotated[float, Field(gt=0, le=45, allow_inf_nan=False)]
"""Seconds: less than the 60 for which the circuit breaker lends its one probe to a process."""
Count = Annotated[int, Field(ge=1)]


_CA_BUNDLES = ("asleep_ca_bundle", "requests_ca_bundle", "ssl_cert_file")
"""In the order of their precedence."""


class SettingsInvalid(ValueError):
    """The environment cannot be used as it is; one line for each variable that is wrong, values left out."""


class Settings(BaseSettings):
    """Everything configurable. Field names are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    environment: Literal["development", "staging", "production"] = "development"
    asleep_api_key: Keys = ()
    asleep_base_url: WebAddress = "https://api.asleep.ai"
    asleep_ca_bundle: Path | None = None
    requests_ca_bundle: Path | None = None
    ssl_cert_file: Path | None = None
    asleep_proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    database_url: SecretStr | None = None
    data_directory: Path = APP_ROOT / ".data" if IS_CHECKOUT else user_data_path("asleep-sync")
    asleep_requests_per_second: PositiveNumber = 10.0
    max_connections: Annotated[int, Field(ge=1, le=256)] = 20
    request_timeout: LongestRequest = 30.0
    first_day: Annotated[date, BeforeValidator(_date), AfterValidator(_day_of_the_api)] | None = None
    recent_days: Annotated[int, Field(ge=1, le=3650)] = 7
    sync_detail: Literal["full", "statistics"] = "full"
    user_batch_size: Count = 500
    free_days: Weekdays = (6, 7)
    enable_caching: bool = True
    enable_webhooks: bool = True
    enable_metrics: bool = False
    cache_ttl_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    service_api_keys: Keys = ()
    service_requests_per_hour: Count = 100
    service_sessions_per_minute: Count = 10
    service_summaries_per_minute: Count = 5
    trusted_proxies: Networks = ()
    ui_hosts: Hosts = ()
    notify_url: WebAddress | None = None
    notify_secret: SecretStr | None = None
    alert_webhook_url: WebAddress | None = None
    heartbeat_url: WebAddress | None = None
    webhook_secret: Secrets = ()
    erasure_grace_days: Annotated[int, Field(ge=7, le=3650)] = 30
    export_directory: Path | None = None
    event_retention_days: Annotated[int, Field(ge=3, le=3650)] = 30
    statsd_host: str = "127.0.0.1"
    statsd_port: Annotated[int, Field(ge=1, le=65535)] = 8125
    log_level: LogLevel = "INFO"
    log_format: Literal["console", "json"] | None = None
    dagster_executor: Literal["in_process", "multiprocess", "celery", "kubernetes"] = "in_process"
    celery_broker_url: SecretStr | None = None
    celery_visibility_timeout_seconds: Annotated[int, Field(ge=1)] = 3600

    @field_validator("asleep_base_url")
    @classmethod
    def _can_be_extended(cls, value: str, info: ValidationInfo) -> str:
        if "?" in value:
            raise ValueError("may have a path but no query: paths and queries of requests are put behind it")
        if (environment := _outside_development(info)) and not value.startswith("https://"):
            raise ValueError(f"must be https:// when ENVIRONMENT is {environment}")
        return value.rstrip("/")

    @field_validator(*_CA_BUNDLES)
    @classmethod
    def _holds_certificates(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        is_used = not any(info.data.get(name) for name in _CA_BUNDLES)  # `data` has the fields before this one only
        if value is not None and is_used:
            trusted_authorities(value)
        return value

    @field_validator("notify_secret")
    @classmethod
    def _signs_notifications(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("notify_url") and _outside_development(info):
            raise ValueError("required with NOTIFY_URL: the receiver must be able to check the sender")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_postgres_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and (environment := _outside_development(info)):
            raise ValueError(f"required when ENVIRONMENT is {environment}")
        if value is not None:
            try:
                database_url(value.get_secret_value())
            except DatabaseUrlInvalid as error:
                raise ValueError(str(error)) from None
        return value

    def require_database_url(self) -> str:
        """Return DATABASE_URL.

        Raises:
            SettingsInvalid: it is not set. Only the command `asleep-sync` starts an embedded Postgres.
        """
        if self.database_url is None:
            raise SettingsInvalid(
                "DATABASE_URL: not set. Set it, or start the program with `asleep-sync exec -- PROGRAM`, which starts "
                "the embedded Postgres of development"
            )
        return self.database_url.get_secret_value()

    @property
    def ca_bundle(self) -> Path | None:
        """File or directory of the certificate authorities to trust; None for those that come with `requests`."""
        return self.asleep_ca_bundle or self.requests_ca_bundle or self.ssl_cert_file

    @property
    def calling_key(self) -> str | None:
        """The key that calls the API: the first of ASLEEP_API_KEY; None when none is set."""
        return self.asleep_api_key[0].get_secret_value() if self.asleep_api_key else None

    @property
    def logs_as_json(self) -> bool:
        """True when log lines are JSON: by LOG_FORMAT, or outside development."""
        return (self.log_format or ("console" if self.environment == "development" else "json")) == "json"

    @property
    def logs_results(self) -> bool:
        """True when a command also logs what it prints as its result: with JSON lines, or when LOG_LEVEL is set."""
        return self.logs_as_json or "log_level" in self.model_fields_set


def load_settings(env_file: Path | None = None) -> Settings:
    """Read the environment, and `.env` of the current directory below it.

    Raises:
        SettingsInvalid: names every variable that is wrong and why, never its value; also those that are unknown.
    """
    file = env_file or Path(".env")
    try:
        if skipped := _skipped_lines(file):
            raise SettingsInvalid("\n".join(f"{file}: line {number} is not NAME=value" for number in skipped))
        return Settings(_env_file=file)  # type: ignore[call-arg]
    except ValidationError as error:
        unknown = (f"{name}: set, but no variable of asleep-sync" for name in unknown_variables(env_file=file))
        raise SettingsInvalid("\n".join([*_problems(error), *unknown])) from None
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{file}: not UTF-8 text. Save the file as UTF-8.") from None
    except OSError as error:
        raise SettingsInvalid(f"{file}: cannot be read ({error.strerror})") from None


def _skipped_lines(file: Path) -> list[int]:
    """Return the numbers of the lines that python-dotenv would skip: one may hold DATABASE_URL."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8-sig") as lines:
        return [binding.original.line for binding in parse_stream(lines) if binding.error]


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        for line in problem["msg"].removeprefix("Value error, ").splitlines():
            yield f"{str(problem['loc'][0]).upper()}: {line}"


def _outside_development(info: ValidationInfo) -> str | None:
    """ENVIRONMENT unless it is development: what development may leave out is required there."""
    environment: str = info.data.get("environment", "development")
    return None if environment == "development" else environment


def unknown_variables(environment: dict[str, str] | None = None, env_file: Path = Path(".env")) -> list[str]:
    """Names that are set and read by nothing, with the name that was probably meant; for warnings at start.

    Args:
        environment: of it, names that begin like ours; the process's by default.
        env_file: of it, all names but Dagster's.
    """
    known = {name.upper() for name in Settings.model_fields}
    set_here = os.environ if environment is None else environment
    in_file = {name.upper() for name in DotEnvSettingsSource(Settings, env_file=env_file).env_vars}
    names = {n for n in set_here if n.startswith(("ASLEEP_", "STATSD_", "SYNC_", "WEBHOOK_"))}
    names |= {n for n in in_file if not n.startswith("DAGSTER_")}
    return [f"{name}{_meant(name, known)}" for name in sorted(names - known)]


def runs_under_dagster_dev() -> bool:
    """Whether this process belongs to a plain `dagster dev`, whose webserver has no guard."""
    return bool(os.environ.get("DAGSTER_IS_DEV_CLI"))


def _meant(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""
