"""The demo's users in the registry: marked by their source, so that they are never requested from a real account."""

from sqlalchemy import Connection, select

from pipelines.cli.common import Refusal
from pipelines.cli.development.simulated_api import KEY
from pipelines.settings import Settings
from resources.database.schema import tables
from resources.database.users.registry import register_users

SOURCE = "demo"


def register_demo_users(connection: Connection, user_ids: list[str]) -> None:
    """Register simulated users.

    Args:
        connection: in a transaction.
        user_ids: of the simulated API.

    Raises:
        Refusal: other users are registered. The simulated API would report them as deleted.
    """
    if has_other_users(connection):
        raise Refusal(
            "the embedded database holds users who are not simulated, and the simulated API would report them as "
            "deleted. Run the demo in another clone, or with another DATA_DIRECTORY."
        )
    register_users(connection, user_ids, SOURCE)


def has_other_users(connection: Connection) -> bool:
    """Return whether users are registered who do not come from the demo."""
    return connection.scalar(select(tables.users.c.user_id).where(tables.users.c.source != SOURCE).limit(1)) is not None


def refuse_demo_users(connection: Connection, settings: Settings) -> None:
    """Do nothing when the registered users may be requested from the configured account.

    Args:
        connection: open.
        settings: name the account.

    Raises:
        Refusal: the demo's users are registered, and the key is not the simulated API's.
    """
    found = connection.scalar(select(tables.users.c.user_id).where(tables.users.c.source == SOURCE).limit(1))
    if found is not None and settings.calling_key != KEY:
        raise Refusal(
            "the database holds the demo's users, whom no real account has. Remove the demo's data first: "
            "asleep-sync demo --remove"
        )
