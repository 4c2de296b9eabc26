"""Where images lie: folders, lists, archives, parquet, IDX and .bin files, arrays, the prepared cache; layouts.py finds
the right one.
"""
