"""The `sample` catalogue: real songs of well-known anime, facts only (see SOURCES.md)."""
