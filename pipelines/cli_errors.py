"""How the command tells what the person in front of it can mend: one line, exit code 2, no traceback.

Lives here: that translation.  Not here: commands.
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
