"""Export of the tables as Parquet and CSV files, laid out by month."""
