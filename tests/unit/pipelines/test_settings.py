"""The environment as settings: everything wrong is told at once, by name, and no value is ever repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from pipelines.settings import Settings, SettingsInvalid, load_settings, unknown_variables

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Settings of an environment that holds these variables only, and of a `.env` with these lines."""

    def load(dotenv: str = "", **variables: str) -> Settings:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "env").write_text(dotenv)
        return load_settings(tmp_path / "env")

    return load


def test_the_defaults_are_those_that_are_documented(load: Load):
    """Other programs rely on them."""
    settings = load()
    assert {name: getattr(settings, name) for name in (
        "environment", "asleep_base_url", "database_url", "asleep_requests_per_second", "max_connections",
        "request_timeout", "recent_days", "sync_detail", "user_batch_size", "enable_caching", "enable_webhooks",
        "enable_metrics", "cache_ttl_seconds", "statsd_host", "statsd_port", "log_level", "logs_as_json",
    )} == {
        "environment": "development", "asleep_base_url": "https://api.asleep.ai", "database_url": None,
        "asleep_requests_per_second": 10, "max_connections": 20, "request_timeout": 30, "recent_days": 7,
        "sync_detail": "full", "user_batch_size": 500, "enable_caching": True, "enable_webhooks": True,
        "enable_metrics": False, "cache_ttl_seconds": 300, "statsd_host": "127.0.0.1", "statsd_port": 8125,
        "log_level": "INFO", "logs_as_json": False,
    }  # fmt: skip


def test_all_errors_are_reported_together_by_name_and_without_values(load: Load):
    """A typo in a secret must not end in a log."""
    with pytest.raises(SettingsInvalid) as refused:
        load(
            DATABASE_URL="mysql://me:hunter2@host/data", REQUEST_TIMEOUT="hunter3", MAX_CONNECTIONS="0",
            ASLEEP_API_KEY="hunter 4", STATSD_PORT="70000", SYNC_DETAIL="hunter5", ENABLE_CACHING="hunter6",
        )  # fmt: skip
    told = str(refused.value)
    for name in (
        "DATABASE_URL", "REQUEST_TIMEOUT", "MAX_CONNECTIONS", "ASLEEP_API_KEY", "STATSD_PORT", "SYNC_DETAIL",
        "ENABLE_CACHING",
    ):  # fmt: skip
        assert f"{name}: " in told
    assert "hunter" not in told


def test_production_names_everything_it_lacks(load: Load):
    """An embedded database, or a key sent in clear, is for development."""
    with pytest.raises(SettingsInvalid) as refused:
        load(ENVIRONMENT="production", ASLEEP_BASE_URL="http://example.test", NOTIFY_URL="https://example.test")
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "ASLEEP_BASE_URL", "DATABASE_URL", "NOTIFY_SECRET",
    ]  # fmt: skip


def test_production_reports_typos_and_missing_settings_together(load: Load):
    """Mending one, starting again and finding the next costs a deployment each time."""
    with pytest.raises(SettingsInvalid) as refused:
        load(ENVIRONMENT="production", RECENT_DAYS="x", ASLEEP_BASE_URL="http://example.test")
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "ASLEEP_BASE_URL", "DATABASE_URL", "RECENT_DAYS",
    ]  # fmt: skip


def test_a_variable_that_is_wrong_is_not_called_missing_as_well(load: Load):
    """It is there; two lines about it would contradict each other."""
    with pytest.raises(SettingsInvalid) as refused:
        load(ENVIRONMENT="production", DATABASE_URL="mysql://host/data")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://asleep:hunter2secret/asleep",
        "postgresql://asleep:987654321/asleep",
        "postgresql://asleep:pass@hunter2@host/asleep",
        "postgresql://asleep@host/asleep?hunter2=1",
        "postgresql:///asleep?host=a:1&host=b:hunter2",
    ],
)
def test_a_database_url_that_leads_nowhere_is_refused_without_a_part_of_it(load: Load, url: str):
    """Without a host, or with an @ in it, a password is taken for a port or a host: drivers print those."""
    with pytest.raises(SettingsInvalid) as refused:
        load(DATABASE_URL=url)
    assert str(refused.value).startswith("DATABASE_URL: The database URL cannot be read")
    assert "hunter" not in str(refused.value)
    assert "987654321" not in str(refused.value)


@pytest.mark.parametrize("name", ["ASLEEP_BASE_URL", "NOTIFY_URL", "ALERT_WEBHOOK_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://host:abc", "http://host:99999", "http://host:0", "http://host/#part", "http://:pass@host",
        "http://[::1", "http://a..b", "http://ho st", "ftp://host", "host",
    ],
)  # fmt: skip
def test_an_invalid_web_address_is_refused_by_name(load: Load, name: str, url: str):
    """Not at the first request, by whatever the HTTP client says then."""
    with pytest.raises(SettingsInvalid) as refused:
        load(**{name: url})
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [name]
    assert url not in str(refused.value).replace("http://host:port", "").replace("https://host", "")


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128", "socks5://me:hunter2@proxy:1080", "http://me:hunter2@", "http://me:hunter2@proxy:0",
        "http://me:hunter2@proxy:99999", "http://me:hunter/2@proxy:3128", "http://me:hunter2@proxy:3128/path?query",
        "http://me:hunter 2@proxy:3128",
    ],
)  # fmt: skip
def test_a_proxy_that_cannot_work_is_refused_by_name_without_its_password(load: Load, proxy: str):
    """At the first request it would be an error for each of a thousand users."""
    with pytest.raises(SettingsInvalid) as refused:
        load(ASLEEP_PROXY=proxy)
    assert str(refused.value).startswith("ASLEEP_PROXY: must look like http://")
    assert len(str(refused.value).splitlines()) == 1
    assert "hunter" not in str(refused.value)


def test_the_password_of_a_proxy_is_not_shown(load: Load):
    """Settings end in logs and in the Dagster UI."""
    settings = load(ASLEEP_PROXY="http://me:hunter2@proxy:3128")
    assert settings.asleep_proxy is not None
    assert settings.asleep_proxy.get_secret_value() == "http://me:hunter2@proxy:3128"
    assert "hunter2" not in repr(settings)


CA_VARIABLES = ["ASLEEP_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]


@pytest.mark.parametrize("name", CA_VARIABLES)
@pytest.mark.parametrize(("kind", "reason"), [
    ("missing", "No such file"), ("empty", "PEM form"), ("text", "PEM form"), ("directory", "openssl rehash"),
])  # fmt: skip
def test_certificate_authorities_that_cannot_be_read_are_refused_by_name(
    load: Load, tmp_path: Path, name: str, kind: str, reason: str
):
    """Each request would fail otherwise, with a message about TLS that does not name the variable."""
    path = tmp_path / "authorities"
    {
        "missing": lambda: None,
        "empty": path.touch,
        "text": lambda: path.write_text("no certificate"),
        "directory": path.mkdir,
    }[kind]()
    with pytest.raises(SettingsInvalid, match=f"^{name}: .*{reason}") as refused:
        load(**{name: str(path)})
    assert len(str(refused.value).splitlines()) == 1


def test_the_first_variable_of_certificate_authorities_is_used_and_the_others_are_not_read(load: Load, tmp_path: Path):
    """REQUESTS_CA_BUNDLE is often set for other programs."""
    missing = str(tmp_path / "missing")
    paths = {}
    for name in CA_VARIABLES:
        paths[name] = tmp_path / name
        trustme.CA().cert_pem.write_to_path(str(paths[name]))
    assert load().ca_bundle is None
    assert load(SSL_CERT_FILE=str(paths["SSL_CERT_FILE"])).ca_bundle == paths["SSL_CERT_FILE"]
    fallback = load(REQUESTS_CA_BUNDLE=str(paths["REQUESTS_CA_BUNDLE"]), SSL_CERT_FILE=missing)
    assert fallback.ca_bundle == paths["REQUESTS_CA_BUNDLE"]
    own = load(ASLEEP_CA_BUNDLE=str(paths["ASLEEP_CA_BUNDLE"]), REQUESTS_CA_BUNDLE=missing, SSL_CERT_FILE=missing)
    assert own.ca_bundle == paths["ASLEEP_CA_BUNDLE"]


def test_only_the_base_url_may_hold_no_query(load: Load):
    """Paths are put behind it; receivers of messages are often told apart by a query."""
    settings = load(
        ASLEEP_BASE_URL="https://proxy.test/asleep/", NOTIFY_URL="https://example.test/in?from=a/",
        ALERT_WEBHOOK_URL="https://example.test/alert?token=b",
    )  # fmt: skip
    assert settings.asleep_base_url == "https://proxy.test/asleep"
    assert (settings.notify_url, settings.alert_webhook_url) == (
        "https://example.test/in?from=a/", "https://example.test/alert?token=b",
    )  # fmt: skip
    with pytest.raises(SettingsInvalid, match="ASLEEP_BASE_URL: may have a path but no query"):
        load(ASLEEP_BASE_URL="https://host/?a=b")


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("name", ["ASLEEP_REQUESTS_PER_SECOND", "CACHE_TTL_SECONDS", "REQUEST_TIMEOUT"])
def test_a_number_without_end_is_refused(load: Load, name: str, number: str):
    """No limit at all is not a limit: it would fail later, in arithmetic."""
    with pytest.raises(SettingsInvalid, match=f"^{name}: "):
        load(**{name: number})


def test_a_request_may_not_outlive_the_turn_in_which_it_probes(load: Load):
    """The circuit breaker lends its one probe for 60 s: a longer request would be joined by another's."""
    assert load(REQUEST_TIMEOUT="45").request_timeout == 45
    with pytest.raises(SettingsInvalid, match=r"REQUEST_TIMEOUT: .* 45"):
        load(REQUEST_TIMEOUT="46")


def test_a_file_is_read_below_the_environment(load: Load):
    """What is set for one command wins over the file."""
    settings = load("RECENT_DAYS=3\nLOG_LEVEL=debug\nASLEEP_API_KEY= one , two \n", RECENT_DAYS="5")
    assert (settings.recent_days, settings.log_level, settings.calling_key) == (5, "DEBUG", "one")
    assert [key.get_secret_value() for key in settings.asleep_api_key] == ["one", "two"]


def test_no_secret_shows_in_the_settings_text(load: Load):
    """They are printed in many a traceback."""
    settings = load(
        "WEBHOOK_SECRET=hunter1\nNOTIFY_SECRET=hunter2",
        ASLEEP_API_KEY="hunter3", DATABASE_URL="postgresql://me:hunter4@host/data", SERVICE_API_KEYS="hunter5",
        CELERY_BROKER_URL="redis://:hunter6@host",
    )  # fmt: skip
    assert "hunter" not in f"{settings!r} {settings}"


def test_the_address_of_a_receiver_is_taken_as_it_is(load: Load):
    """A backend that insists on its last slash would redirect, and redirects are refusals."""
    settings = load(
        NOTIFY_URL="https://b.test/hooks/", ALERT_WEBHOOK_URL="https://c.test/x/", ASLEEP_BASE_URL="https://a.test/"
    )

    assert (settings.notify_url, settings.alert_webhook_url) == ("https://b.test/hooks/", "https://c.test/x/")
    assert settings.asleep_base_url == "https://a.test"


@pytest.mark.parametrize("secret", [" , ", ",", " "])
def test_a_secret_that_is_none_is_refused(load: Load, secret: str):
    """Signatures would go unchecked in silence."""
    with pytest.raises(SettingsInvalid, match="WEBHOOK_SECRET"):
        load(WEBHOOK_SECRET=secret)


def test_settings_stay_as_they_were_read(load: Load):
    """They are read once."""
    with pytest.raises(ValueError, match="frozen"):
        load().recent_days = 9


def test_a_misspelt_variable_is_noticed(tmp_path: Path):
    """ASLEEP_API_KEYS instead of ASLEEP_API_KEY would otherwise simply not work."""
    env_file = tmp_path / "env"
    env_file.write_text("\ufeffRECENT_DAY=3\nDAGSTER_HOME=/x\nMAX_CONNECTIONS=5\nexport COLOUR=red\n", "utf-8")
    environment = {"ASLEEP_API_KEYS": "", "ASLEEP_API_KEY": "", "STATSD_HOST": "", "PATH": ""}
    assert unknown_variables(environment, env_file) == [
        "ASLEEP_API_KEYS (did you mean ASLEEP_API_KEY?)", "COLOUR", "RECENT_DAY (did you mean RECENT_DAYS?)",
    ]  # fmt: skip


def test_a_misspelt_variable_is_named_beside_the_errors(tmp_path: Path):
    """In production DATABASE_URL is required: without this, DATABSE_URL in the file would only be called missing."""
    env_file = tmp_path / "env"
    env_file.write_text("ENVIRONMENT=production\nDATABSE_URL=postgresql://h/x\n")
    with pytest.raises(SettingsInvalid, match=r"(?s)DATABASE_URL: .*DATABSE_URL \(did you mean DATABASE_URL\?\)"):
        load_settings(env_file)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_named(tmp_path: Path, encoding: str):
    """Windows' editors write such files; a traceback of a decoder names nothing."""
    env_file = tmp_path / "env"
    env_file.write_bytes("ASLEEP_API_KEY=sch\u00f6n\n".encode(encoding))
    with pytest.raises(SettingsInvalid, match=r"env: not UTF-8 text\. Save the file as UTF-8"):
        load_settings(env_file)


def test_a_line_that_would_be_skipped_is_refused_by_its_number(tmp_path: Path):
    """With `DATABASE URL=…` in its file, a sync would fill the embedded Postgres instead."""
    env_file = tmp_path / "env"
    env_file.write_text("RECENT_DAYS=3\nDATABASE URL=postgresql://h/x\n\nexport LOG_LEVEL=INFO\nWEBHOOK_SECRET='a\n")
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(env_file)
    assert str(refused.value) == f"{env_file}: line 2 is not NAME=value\n{env_file}: line 5 is not NAME=value"


@pytest.mark.parametrize("day", ["1", "86400", "31.01.2025", "2025-13-01"])
def test_a_first_day_of_another_form_is_refused(load: Load, day: str):
    """A number would be a day of 1970."""
    with pytest.raises(SettingsInvalid, match="FIRST_DAY: must be a date such as 2025-01-31"):
        load(FIRST_DAY=day)


def test_a_byte_order_mark_is_no_part_of_the_first_name(load: Load, tmp_path: Path):
    """The first variable of a file that Notepad wrote would be ignored."""
    load()
    (tmp_path / "env").write_text("\ufeffRECENT_DAYS=3\n", "utf-8")
    assert load_settings(tmp_path / "env").recent_days == 3


def test_a_program_without_a_database_names_the_remedy(load: Load):
    """Only the command starts an embedded Postgres; a bare `dagster dev` must say what to use instead."""
    with pytest.raises(SettingsInvalid, match=r"DATABASE_URL: not set.*asleep-sync exec"):
        load().require_database_url()
    assert load(DATABASE_URL="postgresql://me@host/data").require_database_url() == "postgresql://me@host/data"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TRUSTED_PROXIES", " 10.0.0.7, 172.16.3.4/12,::1 ", ("10.0.0.7/32", "172.16.0.0/12", "::1/128")),
        ("UI_HOSTS", "Dagster.example.org, [::2]:3000", ("dagster.example.org", "[::2]:3000")),
    ],
)
def test_lists_of_names_are_read(load: Load, name: str, value: str, expected: tuple[str, ...]):
    """As people write them, with blanks and capitals."""
    assert getattr(load(**{name: value}), name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("TRUSTED_PROXIES", "proxy.example.org"), ("UI_HOSTS", "https://dagster.example.org"), ("UI_HOSTS", "*")],
)
def test_a_list_of_names_that_cannot_be_one_is_refused(load: Load, name: str, value: str):
    """A name that never matches would silently trust or admit nobody."""
    with pytest.raises(SettingsInvalid, match=name):
        load(**{name: value})


def test_the_grace_of_an_erasure_has_a_floor(load: Load):
    """A slip of one digit must not erase everybody whom the source lost for a day."""
    with pytest.raises(SettingsInvalid, match="ERASURE_GRACE_DAYS"):
        load(ERASURE_GRACE_DAYS="3")
