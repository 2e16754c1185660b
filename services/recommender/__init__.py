"""Makes playlists from profiles and vectors. `app.py` is the composition root; the arms are in `arms/`."""
