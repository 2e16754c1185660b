"""The routes, one file for each subject. Each file has a `router`."""
