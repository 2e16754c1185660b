"""Figures of other systems, as the requirements state them: measured elsewhere on two cores, never here."""

AM_POSTS = "stated: original AniMusic 130-330 posts/s, Gorse 500-690"
BATCH_POSTS = "stated: Gorse 5,900-10,600 events/s, RudderStack 1,700/s"
AM_PLAYLISTS = "stated: original AniMusic p50 400-840 ms, 1.2-2.4/s"
GORSE_30 = "stated: Gorse 184/s on request, 519/s precomputed"
GORSE_300 = "stated: Gorse 18/s on request"
GORSE_2000 = "stated: Gorse 97-108/s precomputed; original AniMusic: errors"
