"""Profile and vectors in, playlist out. `app.py` is the composition root; one file per arm in `arms/`."""
