"""What all commands share: settings, the database, and errors told in one line with exit code 2.

Lives here: that.  Not here: commands.
"""

import warnings
from typing import Any

import click
from sqlalchemy.exc import OperationalError

NOTHING_DONE = 2


class Refusal(click.ClickException):
    """One clear line, and exit code 2."""

    exit_code = NOTHING_DONE

    def show(self, file: Any = None) -> None:
        """To the standard error stream."""
        click.echo(f"asleep-sync: {self.message}", err=True, file=file)


class Commands(click.Group):
    """Commands whose expected errors are told in one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what the user can mend into a `Refusal`."""
        from pipelines.settings import SettingsInvalid
        from resources.database.embedded_programs import EmbeddedPostgresError
        from resources.database.engine import DatabaseUrlInvalid
        from resources.database.migrate import NotMigrated

        warnings.filterwarnings("ignore", message=".*is currently in (beta|preview)")
        try:
            return super().invoke(ctx)
        except SettingsInvalid as error:
            raise Refusal(f"the environment is not valid:\n{error}") from None
        except (NotMigrated, DatabaseUrlInvalid, EmbeddedPostgresError) as error:
            raise Refusal(str(error)) from None
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else "no reason given"
            raise Refusal(
                f"the database cannot be used ({reason}). Is it running, and is DATABASE_URL right?"
            ) from None


def read_settings() -> Any:
    """The settings, with logs set up by them and a word about variables that look misspelt."""
    from pipelines.observability import set_up_logs
    from pipelines.settings import load_settings, without_unknown

    settings = load_settings()
    set_up_logs(settings)
    for name in without_unknown():
        click.echo(f"asleep-sync: {name} is set but is no variable of asleep-sync: misspelt?", err=True)
    return settings


def read_database(settings: Any) -> Any:
    """The database of these settings; nothing is connected yet."""
    from pipelines.database_url import find_database_url
    from resources.database.resource import Database

    return Database(lambda: find_database_url(settings), application_name="asleep-sync cli")
