"""The routes, one file a subject. Each has one function, `router(parts)`."""
