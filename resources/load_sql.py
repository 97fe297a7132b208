"""SQL files as statements with bound parameters."""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def load_sql(package: str | None, name: str) -> TextClause:
    """The statement in `<name>.sql` beside the module that runs it.

    Args:
        package: the module's own `__package__`, so that no package runs another's SQL.
        name: file name without the suffix.

    Raises:
        FileNotFoundError: the package has no such file.
    """
    if package is None:
        raise ValueError("load_sql needs the __package__ of the module that calls it")
    return text(files(package).joinpath(f"{name}.sql").read_text("utf-8"))
