"""`asleep-sync export`: Parquet and CSV files of the tables."""

from datetime import date, datetime
from pathlib import Path

import click

from pipelines.cli.common import Refusal, open_database, read_settings


@click.command()
@click.option(
    "--to", "directory", type=click.Path(file_okay=False, path_type=Path), help="Folder. Default: EXPORT_DIRECTORY."
)
@click.option("--month", "months", type=click.DateTime(["%Y-%m"]), multiple=True, help="Only this one; repeatable.")
@click.option("--stages", is_flag=True, help="Also sessions with their stage arrays.")
@click.option("--epochs", is_flag=True, help="Also one row per 30 seconds. Needs --month.")
@click.option(
    "--format", "formats", type=click.Choice(["parquet", "csv"]), multiple=True, default=["parquet", "csv"],
    show_default=True, help="May be repeated.",
)  # fmt: skip
def export(
    directory: Path | None, months: tuple[datetime, ...], stages: bool, epochs: bool, formats: tuple[str, ...]
) -> None:
    """Write the tables as Parquet and CSV.

    Writes sessions, nights, monthly averages and metrics, one folder per month.
    Only months that changed since the last export are written. Files appear complete or not at all and only you can
    read them: they contain health data with user ids. `forget` rewrites an erased user's months in EXPORT_DIRECTORY.

    \b
    Examples:
      asleep-sync export --to /srv/asleep
      asleep-sync export --month 2026-10 --epochs --format parquet
      duckdb -c "SELECT night_month, count(*) FROM '/srv/asleep/nights/*/*.parquet' GROUP BY 1"
    """
    from assets.export.datasets import DATASETS, EPOCHS, STAGES
    from assets.export.export import ExportRequest
    from assets.export.export import export as write

    settings = read_settings()
    target = directory or settings.export_directory
    if target is None:
        raise Refusal("name a folder with --to, or set EXPORT_DIRECTORY.")
    if epochs and not months:
        raise Refusal("--epochs writes about 900 rows per night: name a month with --month, such as --month 2026-10.")
    database = open_database(settings)
    datasets = (*DATASETS, *((STAGES,) if stages else ()), *((EPOCHS,) if epochs else ()))
    request = ExportRequest(datasets, [month.date() for month in months] or None, formats)
    try:
        exported = write(database.engine, target, request, progress=_show)
    except OSError as error:
        raise Refusal(f"{error.filename or target}: {error.strerror}. No file is half-written.") from None
    click.echo(
        f"{exported.written} months written ({exported.rows} rows), {exported.unchanged} unchanged, "
        f"{exported.removed} removed: {target}"
    )


def _show(dataset: str, month: date) -> None:
    click.echo(f"{dataset} {month:%Y-%m}", err=True)
