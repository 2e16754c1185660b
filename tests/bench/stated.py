"""Figures of other systems, as the requirements state them: measured elsewhere on two cores, never here."""

AM_POSTS = "stated: the original AniMusic 130-330 posts/s, Gorse 500-690 posts/s"
BATCH_POSTS = "stated: Gorse 5,900-10,600 events/s in batches of 100, RudderStack 1,700/s"
AM_PLAYLISTS = "stated: the original AniMusic p50 400-840 ms, 1.2-2.4/s"
GORSE_30 = "stated: Gorse, one list: 184/s computed when asked, 519/s precomputed and stale"
GORSE_300 = "stated: Gorse, one list: 18/s computed when asked"
GORSE_2000 = "stated: Gorse, one list, precomputed and stale: 97-108/s; the original AniMusic: errors"
