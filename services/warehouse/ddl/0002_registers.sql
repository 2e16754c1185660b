-- The fold (contracts/fold.py) in ClickHouse: every register is a tuple whose minimum or maximum is the merge, so that rows
-- merge in any order and what is inserted twice counts once. An absent register is the identity: all zeros for max, all
-- ones for min. UUIDs are FixedString(16), since ClickHouse does not order the type UUID by its bytes. Ask the views; who reads
-- these tables merges first, with GROUP BY and max or min, or with FINAL in a subquery of its own (see 0003).

-- Per (user, song). `*_attributed` are the same registers, written only by events whose arm somebody vouches for: curves
-- read these, so that a play without a token never moves them.
CREATE TABLE IF NOT EXISTS animusic.registers
(
    user_id String,
    song_id String,
    watched SimpleAggregateFunction(max, Tuple(ppm UInt32, watch_ms UInt32, duration_ms UInt32)),
    liked SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16), value UInt8)),
    started SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16))),
    settled SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16))),
    first_exposure SimpleAggregateFunction(min, Tuple(occurred_at UInt64, event_id FixedString(16), arm UInt8, playlist_id FixedString(16), revision UInt16, slot UInt8, attribution UInt8, model_version FixedString(8)))
        DEFAULT (18446744073709551615, unhex(repeat('ff', 16)), 255, unhex(repeat('ff', 16)), 65535, 255, 255, unhex(repeat('ff', 8))),
    watched_attributed SimpleAggregateFunction(max, Tuple(ppm UInt32, watch_ms UInt32, duration_ms UInt32)),
    liked_attributed SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16), value UInt8))
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, song_id);

CREATE TABLE IF NOT EXISTS animusic.vetoes
(
    user_id String,
    anime_id String,
    veto SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16), value UInt8))
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, anime_id);

CREATE TABLE IF NOT EXISTS animusic.played
(
    user_id String,
    song_id String,
    play_id UUID,
    played SimpleAggregateFunction(max, Tuple(played_ms UInt32))
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, song_id, play_id);

-- What came of each served slot. A claimed exposure (the paper's endpoints) has no playlist: zeros stand for it.
CREATE TABLE IF NOT EXISTS animusic.slot_outcomes
(
    user_id String,
    attribution LowCardinality(String),
    arm LowCardinality(String),
    playlist_id UUID,
    slot UInt8,
    song_id String,
    shown SimpleAggregateFunction(max, UInt8),
    started SimpleAggregateFunction(max, UInt8),
    ended SimpleAggregateFunction(max, UInt8),
    skipped SimpleAggregateFunction(max, UInt8),
    watched SimpleAggregateFunction(max, Tuple(ppm UInt32, watch_ms UInt32, duration_ms UInt32)),
    liked SimpleAggregateFunction(max, Tuple(occurred_at UInt64, event_id FixedString(16), value UInt8))
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, playlist_id, slot, song_id, attribution, arm);

CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.registers_of_feedback TO animusic.registers AS
WITH
    (occurred_ms, UUIDToNum(event_id)) AS at,
    (toUInt64(0), toFixedString('', 16)) AS never,
    watch_ms IS NOT NULL AND duration_ms > 0 AS has_watched,
    kind IN ('liked', 'unliked') AS has_liked,
    attribution IN ('slot', 'claimed') AND arm != '' AS attributed,
    (toUInt32(0), toUInt32(0), toUInt32(0)) AS unwatched,
    (never.1, never.2, toUInt8(0)) AS not_liked,
    (
        toUInt32(least(1000000, intDiv(toUInt64(assumeNotNull(watch_ms)) * 1000000, greatest(1, assumeNotNull(duration_ms))))),
        assumeNotNull(watch_ms),
        assumeNotNull(duration_ms)
    ) AS watch,
    (occurred_ms, at.2, toUInt8(kind = 'liked')) AS like
SELECT
    user_id,
    song_id,
    max(if(has_watched, watch, unwatched)) AS watched,
    max(if(has_liked, like, not_liked)) AS liked,
    max(if(kind = 'started', at, never)) AS started,
    max(if(kind IN ('ended', 'skipped', 'liked'), at, never)) AS settled,
    min(if(
        attributed,
        (
            occurred_ms,
            at.2,
            toUInt8(transform(toString(arm), ['mpnet', 'minilm', 'node2vec', 'tfidf', 'popular', 'random'], [1, 2, 3, 4, 5, 6], 0)),
            UUIDToNum(ifNull(playlist_id, toUUID('00000000-0000-0000-0000-000000000000'))),
            ifNull(revision, toUInt16(0)),
            ifNull(slot, toUInt8(0)),
            toUInt8(if(attribution = 'slot', 1, 2)),
            toFixedString(unhex(toString(model_version)), 8)
        ),
        (
            toUInt64(18446744073709551615),
            toFixedString(unhex(repeat('ff', 16)), 16),
            toUInt8(255),
            toFixedString(unhex(repeat('ff', 16)), 16),
            toUInt16(65535),
            toUInt8(255),
            toUInt8(255),
            toFixedString(unhex(repeat('ff', 8)), 8)
        )
    )) AS first_exposure,
    max(if(has_watched AND attributed, watch, unwatched)) AS watched_attributed,
    max(if(has_liked AND attributed, like, not_liked)) AS liked_attributed
FROM animusic.feedback
WHERE kind NOT IN ('vetoed', 'unvetoed')
    AND (has_watched OR has_liked OR kind IN ('started', 'ended', 'skipped') OR attributed)
GROUP BY user_id, song_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.vetoes_of_feedback TO animusic.vetoes AS
SELECT
    user_id,
    anime_id,
    max((occurred_ms, UUIDToNum(event_id), toUInt8(kind = 'vetoed'))) AS veto
FROM animusic.feedback
WHERE kind IN ('vetoed', 'unvetoed')
GROUP BY user_id, anime_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.played_of_feedback TO animusic.played AS
SELECT
    user_id,
    song_id,
    assumeNotNull(play_id) AS play_id,
    tuple(max(assumeNotNull(played_ms))) AS played
FROM animusic.feedback
WHERE kind NOT IN ('vetoed', 'unvetoed') AND feedback.play_id IS NOT NULL AND played_ms IS NOT NULL
GROUP BY user_id, song_id, play_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS animusic.slot_outcomes_of_feedback TO animusic.slot_outcomes AS
SELECT
    user_id,
    attribution,
    arm,
    ifNull(feedback.playlist_id, toUUID('00000000-0000-0000-0000-000000000000')) AS playlist_id,
    ifNull(feedback.slot, toUInt8(0)) AS slot,
    song_id,
    max(toUInt8(kind = 'shown')) AS shown,
    max(toUInt8(kind = 'started')) AS started,
    max(toUInt8(kind = 'ended')) AS ended,
    max(toUInt8(kind = 'skipped')) AS skipped,
    max(if(
        watch_ms IS NOT NULL AND duration_ms > 0,
        (
            toUInt32(least(1000000, intDiv(toUInt64(assumeNotNull(watch_ms)) * 1000000, greatest(1, assumeNotNull(duration_ms))))),
            assumeNotNull(watch_ms),
            assumeNotNull(duration_ms)
        ),
        (toUInt32(0), toUInt32(0), toUInt32(0))
    )) AS watched,
    max(if(
        kind IN ('liked', 'unliked'),
        (occurred_ms, UUIDToNum(event_id), toUInt8(kind = 'liked')),
        (toUInt64(0), toFixedString('', 16), toUInt8(0))
    )) AS liked
FROM animusic.feedback
WHERE kind NOT IN ('vetoed', 'unvetoed') AND attribution IN ('slot', 'claimed') AND arm != ''
GROUP BY user_id, attribution, arm, playlist_id, slot, song_id;
