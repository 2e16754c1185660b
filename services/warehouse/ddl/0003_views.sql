-- What analysts ask. Every view deduplicates at read (a merge may be hours away) and leaves forgotten users out. FINAL
-- merges registers while reading: ten times cheaper than GROUP BY with max over tuples. Whole registers must be read under
-- FINAL and taken apart outside: `liked.value` right beside FINAL reads that one field, and merges it by itself, wrongly.

-- One row an event: of the copies of an event, the one that was received first.
CREATE OR REPLACE VIEW animusic.feedback_clean AS
SELECT
    user_id,
    event_id,
    kind,
    fromUnixTimestamp64Milli(toInt64(occurred_ms), 'UTC') AS occurred_at,
    fromUnixTimestamp64Milli(toInt64(received_ms), 'UTC') AS received_at,
    song_id,
    anime_id,
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
FROM animusic.feedback
WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
ORDER BY user_id, event_id, received_ms, topic_id, `partition`, `offset`
LIMIT 1 BY user_id, event_id;

-- One row a playlist revision.
CREATE OR REPLACE VIEW animusic.playlists_clean AS
SELECT
    * EXCEPT (served_ms, inserted_at, schema),
    fromUnixTimestamp64Milli(toInt64(served_ms), 'UTC') AS served_at
FROM animusic.playlists
WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
ORDER BY user_id, playlist_id, revision, topic_id, `partition`, `offset`
LIMIT 1 BY user_id, playlist_id, revision;

-- One row a slot of a revision. `withdrawn`: a later revision of the playlist took the song back, so that not reaching it
-- says nothing about it.
CREATE OR REPLACE VIEW animusic.slots AS
SELECT
    s.* EXCEPT (served_ms, inserted_at),
    fromUnixTimestamp64Milli(toInt64(s.served_ms), 'UTC') AS served_at,
    w.last_withdrawn > s.revision AS withdrawn
FROM
(
    SELECT *
    FROM animusic.served_slots
    WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
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

-- What is known of a listener and a song, decoded. `arm` is the arm that first brought it, '' when nobody vouches for any.
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
    FROM animusic.registers FINAL
    WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
);

-- The paper's curves. Exposure n of an arm for a listener is the nth song that the listener watched that the arm had
-- brought, in the order of first exposure. `listeners` got that far; `like_rate` and `watch_ratio` are their means.
-- Plays and likes that nobody vouches for take no part.
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
            FROM animusic.registers FINAL
            WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
        )
        WHERE first_exposure.arm != 255 AND watched_attributed.watch_ms > 0
        GROUP BY user_id, arm_code, attribution_code
    )
    ARRAY JOIN songs AS song, arrayEnumerate(songs) AS exposure
)
GROUP BY attribution, arm, exposure
ORDER BY attribution, arm, exposure;

-- Per arm: slots served and of them withdrawn; slots shown, reached (anything but shown), started, watched, liked; the
-- listeners of those. `like_rate` and `watch_ratio` are over watched slots. The paper's clients echo no slot: there one
-- (listener, song, arm) counts as one slot.
CREATE OR REPLACE VIEW animusic.arm_engagement AS
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
        WHERE user_id NOT IN (SELECT user_id FROM animusic.forgotten)
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

-- The catalogue as it is now. The topic that was written to last is the one that counts, and in it the highest offset.
CREATE OR REPLACE VIEW animusic.songs AS
SELECT * EXCEPT (logged_ms, topic_id, `partition`, `offset`, inserted_at, topic_written_ms)
FROM
(
    SELECT *, max(logged_ms) OVER (PARTITION BY topic_id) AS topic_written_ms
    FROM animusic.catalogue
)
ORDER BY song_id, topic_written_ms DESC, topic_id, `offset` DESC
LIMIT 1 BY song_id;

-- The model that each arm serves from.
CREATE OR REPLACE VIEW animusic.live_models AS
SELECT
    arm,
    version,
    vectors,
    dimension,
    songs,
    catalogue_digest,
    fromUnixTimestamp64Milli(toInt64(built_ms), 'UTC') AS built_at,
    params
FROM
(
    SELECT *, max(logged_ms) OVER (PARTITION BY topic_id) AS topic_written_ms
    FROM animusic.model_switches
)
ORDER BY arm, topic_written_ms DESC, topic_id, `offset` DESC
LIMIT 1 BY arm;

-- How far the warehouse has come.
CREATE OR REPLACE VIEW animusic.marks_clean AS
SELECT topic_id, topic, `partition`, max(mark) AS mark, max(inserted_at) AS inserted_at
FROM animusic.marks
GROUP BY topic_id, topic, `partition`
ORDER BY topic, topic_id, `partition`;
