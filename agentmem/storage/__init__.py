"""Storage: the one place that knows SQL.  ``database.Database`` is its door; readers and writers come from there."""
