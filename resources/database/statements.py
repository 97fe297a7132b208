"""SQL files as statements with bound parameters.

Lives here: loading.  Not here: SQL.
"""

from functools import cache
from importlib.resources import files

from sqlalchemy import TextClause, text


@cache
def statement(name: str, package: str = "resources.database") -> TextClause:
    """The statement of `sql/<name>.sql` in `package`."""
    return text(files(package).joinpath("sql", f"{name}.sql").read_text("utf-8"))
