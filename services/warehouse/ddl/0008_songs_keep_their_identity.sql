-- A song has one id for life; a correction or a merge adds an alias to its record, and what was logged under the alias is of
-- the song. Rows and registers stay as they were logged; the views put them under the song's own id. The merge of a register
-- is a maximum, so registers of two ids are merged as the fold would have done it.

ALTER TABLE animusic.catalogue
    ADD COLUMN IF NOT EXISTS aliases Array(String),
    ADD COLUMN IF NOT EXISTS anime_aliases Map(String, String),
    ADD COLUMN IF NOT EXISTS anidb_id Nullable(UInt32),
    ADD COLUMN IF NOT EXISTS merged_into String;

CREATE OR REPLACE VIEW animusic.songs AS
SELECT * EXCEPT (logged_ms, topic_id, `partition`, `offset`, inserted_at, topic_written_ms)
FROM
(
    SELECT *, max(logged_ms) OVER (PARTITION BY topic_id) AS topic_written_ms
    FROM animusic.catalogue
)
ORDER BY song_id, topic_written_ms DESC, topic_id, `offset` DESC
LIMIT 1 BY song_id;

-- Alias -> the song that it means. An id that is a song's own means that song, whoever else names it.
CREATE OR REPLACE VIEW animusic.song_aliases AS
SELECT alias, min(song_id) AS song_id
FROM animusic.songs
ARRAY JOIN aliases AS alias
WHERE NOT withdrawn AND alias NOT IN (SELECT song_id FROM animusic.songs WHERE NOT withdrawn)
GROUP BY alias;

CREATE OR REPLACE VIEW animusic.anime_aliases AS
SELECT tupleElement(pair, 1) AS alias, min(tupleElement(pair, 2)) AS anime_id
FROM animusic.songs
ARRAY JOIN CAST(anime_aliases, 'Array(Tuple(String, String))') AS pair
WHERE NOT withdrawn AND alias NOT IN (SELECT arrayJoin(anime_ids) FROM animusic.songs WHERE NOT withdrawn)
GROUP BY alias;

CREATE OR REPLACE VIEW animusic.feedback_clean AS
WITH
    (SELECT (arrayPushBack(groupArray(alias), ''), arrayPushBack(groupArray(song_id), '')) FROM animusic.song_aliases) AS songs,
    (SELECT (arrayPushBack(groupArray(alias), ''), arrayPushBack(groupArray(anime_id), '')) FROM animusic.anime_aliases) AS anime
SELECT
    user_id,
    event_id,
    kind,
    fromUnixTimestamp64Milli(toInt64(occurred_ms), 'UTC') AS occurred_at,
    fromUnixTimestamp64Milli(toInt64(received_ms), 'UTC') AS received_at,
    transform(f.song_id, songs.1, songs.2, f.song_id) AS song_id,
    transform(f.anime_id, anime.1, anime.2, f.anime_id) AS anime_id,
    play_id,
    watch_ms,
    played_ms,
    duration_ms,
    direction,
    link,
    rate,
    muted,
    hidden,
    attribution,
    refusal,
    arm,
    playlist_id,
    revision,
    slot,
    p_arm,
    p_song,
    model_version,
    topic_id,
    `partition`,
    `offset`,
    inserted_at
FROM animusic.feedback AS f
WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
ORDER BY user_id, event_id, received_ms, topic_id, `partition`, `offset`
LIMIT 1 BY user_id, event_id;

CREATE OR REPLACE VIEW animusic.slots AS
WITH
    (SELECT (arrayPushBack(groupArray(alias), ''), arrayPushBack(groupArray(song_id), '')) FROM animusic.song_aliases) AS songs,
    (SELECT (arrayPushBack(groupArray(alias), ''), arrayPushBack(groupArray(anime_id), '')) FROM animusic.anime_aliases) AS anime
SELECT
    s.* EXCEPT (served_ms, inserted_at) REPLACE (
        transform(s.song_id, songs.1, songs.2, s.song_id) AS song_id,
        transform(s.anime_id, anime.1, anime.2, s.anime_id) AS anime_id
    ),
    fromUnixTimestamp64Milli(toInt64(s.served_ms), 'UTC') AS served_at,
    w.last_withdrawn > s.revision AS withdrawn
FROM
(
    SELECT *
    FROM animusic.served_slots
    WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
    ORDER BY user_id, playlist_id, revision, slot, topic_id, `partition`, `offset`
    LIMIT 1 BY user_id, playlist_id, revision, slot
) AS s
LEFT JOIN
(
    SELECT playlist_id, song_id, max(revision) AS last_withdrawn
    FROM animusic.playlists
    ARRAY JOIN withdrawn AS song_id
    GROUP BY playlist_id, song_id
) AS w ON s.playlist_id = w.playlist_id AND s.song_id = w.song_id;

-- The registers of listeners, merged, under the songs' own ids. Only the few rows of songs that were logged under several ids
-- are grouped: FINAL alone is ten times cheaper.
CREATE OR REPLACE VIEW animusic.registers_clean AS
WITH met AS (SELECT alias, song_id FROM animusic.song_aliases WHERE alias IN (SELECT song_id FROM animusic.registers))
SELECT user_id, song_id, watched, liked, started, settled, first_exposure, watched_attributed, liked_attributed
FROM animusic.registers FINAL
WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
    AND song_id NOT IN (SELECT arrayJoin([alias, song_id]) FROM met)
UNION ALL
SELECT
    user_id,
    own_id AS song_id,
    max(r.watched) AS watched,
    max(r.liked) AS liked,
    max(r.started) AS started,
    max(r.settled) AS settled,
    min(r.first_exposure) AS first_exposure,
    max(r.watched_attributed) AS watched_attributed,
    max(r.liked_attributed) AS liked_attributed
FROM
(
    SELECT m.*, if(a.song_id = '', m.song_id, a.song_id) AS own_id
    FROM
    (
        SELECT *
        FROM animusic.registers FINAL
        WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
            AND song_id IN (SELECT arrayJoin([alias, song_id]) FROM met)
    ) AS m
    LEFT JOIN met AS a ON m.song_id = a.alias
) AS r
GROUP BY user_id, own_id;

CREATE OR REPLACE VIEW animusic.listener_songs AS
SELECT
    user_id,
    song_id,
    merged_watched.ppm / 1000000 AS progress,
    merged_watched.watch_ms AS watch_ms,
    merged_watched.duration_ms AS duration_ms,
    merged_liked.value AS liked,
    merged_started.occurred_at > 0 AS started,
    merged_settled.occurred_at > 0 AS settled,
    first_exposure.arm != 255 AS was_exposed,
    transform(first_exposure.arm, [1, 2, 3, 4, 5, 6], ['mpnet', 'minilm', 'node2vec', 'tfidf', 'popular', 'random'], '') AS arm,
    transform(first_exposure.attribution, [1, 2], ['slot', 'claimed'], 'none') AS attribution,
    if(was_exposed, fromUnixTimestamp64Milli(toInt64(first_exposure.occurred_at), 'UTC'), NULL) AS exposed_at
FROM
(
    SELECT
        user_id,
        song_id,
        watched AS merged_watched,
        liked AS merged_liked,
        started AS merged_started,
        settled AS merged_settled,
        first_exposure
    FROM animusic.registers_clean
);

-- Whether a listener wants none of an anime's songs: what they said last.
CREATE OR REPLACE VIEW animusic.listener_vetoes AS
WITH (SELECT (arrayPushBack(groupArray(alias), ''), arrayPushBack(groupArray(anime_id), '')) FROM animusic.anime_aliases) AS anime
SELECT
    user_id,
    own_id AS anime_id,
    last.3 AS vetoed,
    fromUnixTimestamp64Milli(toInt64(last.1), 'UTC') AS since
FROM
(
    SELECT user_id, transform(v.anime_id, anime.1, anime.2, v.anime_id) AS own_id, max(v.veto) AS last
    FROM animusic.vetoes AS v
    WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
    GROUP BY user_id, own_id
);

CREATE OR REPLACE VIEW animusic.exposure_curve AS
SELECT
    attribution,
    arm,
    exposure,
    count() AS listeners,
    avg(liked) AS like_rate,
    avg(ppm) / 1000000 AS watch_ratio
FROM
(
    SELECT
        transform(arm_code, [1, 2, 3, 4, 5, 6], ['mpnet', 'minilm', 'node2vec', 'tfidf', 'popular', 'random'], '') AS arm,
        transform(attribution_code, [1, 2], ['slot', 'claimed'], 'none') AS attribution,
        song.2 AS ppm,
        song.3 AS liked,
        exposure
    FROM
    (
        SELECT
            user_id,
            first_exposure.arm AS arm_code,
            first_exposure.attribution AS attribution_code,
            arraySort(groupArray((
                (first_exposure.occurred_at, first_exposure.event_id, song_id), watched_attributed.ppm, liked_attributed.value
            ))) AS songs
        FROM
        (
            SELECT user_id, song_id, first_exposure, watched_attributed, liked_attributed
            FROM animusic.registers_clean
        )
        WHERE first_exposure.arm != 255 AND watched_attributed.watch_ms > 0
        GROUP BY user_id, arm_code, attribution_code
    )
    ARRAY JOIN songs AS song, arrayEnumerate(songs) AS exposure
)
GROUP BY attribution, arm, exposure
ORDER BY attribution, arm, exposure;

CREATE OR REPLACE VIEW animusic.arm_engagement AS
WITH met AS (SELECT alias, song_id FROM animusic.song_aliases WHERE alias IN (SELECT song_id FROM animusic.slot_outcomes))
SELECT
    attribution,
    arm,
    sum(n_served) AS served,
    sum(n_withdrawn) AS withdrawn,
    sum(n_shown) AS shown,
    sum(n_reached) AS reached,
    sum(n_started) AS started,
    sum(n_watched) AS watched,
    sum(n_liked) AS liked,
    sum(n_listeners) AS listeners,
    if(watched = 0, NULL, sum(n_watched_liked) / watched) AS like_rate,
    if(watched = 0, NULL, sum(ppm) / watched / 1000000) AS watch_ratio
FROM
(
    SELECT
        toString(attribution) AS attribution,
        toString(arm) AS arm,
        0 AS n_served,
        0 AS n_withdrawn,
        sum(shown) AS n_shown,
        sum(started OR ended OR skipped OR watched.watch_ms > 0 OR liked.occurred_at > 0) AS n_reached,
        sum(started) AS n_started,
        sum(watched.watch_ms > 0) AS n_watched,
        sum(liked.value) AS n_liked,
        sum(watched.watch_ms > 0 AND liked.value) AS n_watched_liked,
        sum(if(watched.watch_ms > 0, watched.ppm, 0)) AS ppm,
        uniqExact(user_id) AS n_listeners
    FROM
    (
        SELECT user_id, attribution, arm, shown, started, ended, skipped, watched, liked
        FROM animusic.slot_outcomes FINAL
        WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
            AND song_id NOT IN (SELECT arrayJoin([alias, song_id]) FROM met)
        UNION ALL
        SELECT
            user_id, attribution, arm, max(m.shown), max(m.started), max(m.ended), max(m.skipped), max(m.watched), max(m.liked)
        FROM
        (
            SELECT o.*, if(a.song_id = '', o.song_id, a.song_id) AS own_id
            FROM
            (
                SELECT *
                FROM animusic.slot_outcomes FINAL
                WHERE NOT startsWith(user_id, 'probe-') AND user_id NOT IN (SELECT user_id FROM animusic.forgotten)
                    AND song_id IN (SELECT arrayJoin([alias, song_id]) FROM met)
            ) AS o
            LEFT JOIN met AS a ON o.song_id = a.alias
        ) AS m
        GROUP BY user_id, attribution, arm, playlist_id, slot, own_id
    )
    GROUP BY attribution, arm
    UNION ALL
    SELECT
        if(startsWith(user_id, 'paper-'), 'claimed', 'slot') AS attribution,
        toString(arm) AS arm,
        count() AS n_served,
        countIf(withdrawn) AS n_withdrawn,
        0, 0, 0, 0, 0, 0, 0, 0
    FROM animusic.slots
    WHERE NOT kept
    GROUP BY attribution, arm
)
GROUP BY attribution, arm
ORDER BY attribution, arm;
