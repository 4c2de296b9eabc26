"""Where images lie: folders, archives, parquet files, the prepared cache; layouts.py finds the right one."""
