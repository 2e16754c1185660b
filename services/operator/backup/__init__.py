"""The log's topics as Parquet files, and back: everything else follows from the log."""
