-- One row a log record. Rows are told apart by what they are about *and* where they lie in the log, so a merge only ever
-- removes a row that was inserted twice; views keep one row an event. Text that is absent is '', a number NULL.
-- Times are milliseconds since the epoch (UTC); the views show them as DateTime64(3, 'UTC').

CREATE TABLE IF NOT EXISTS animusic.feedback
(
    user_id String,
    event_id UUID,
    kind LowCardinality(String),
    occurred_ms UInt64,
    received_ms UInt64,
    song_id String,
    anime_id String,
    play_id Nullable(UUID),
    watch_ms Nullable(UInt32),
    played_ms Nullable(UInt32),
    duration_ms Nullable(UInt32),
    direction LowCardinality(String),
    link String,
    rate Nullable(Float64),
    muted Nullable(Bool),
    hidden Nullable(Bool),
    attribution LowCardinality(String),
    refusal LowCardinality(String),
    arm LowCardinality(String),
    playlist_id Nullable(UUID),
    revision Nullable(UInt16),
    slot Nullable(UInt8),
    p_arm Nullable(Float64),
    p_song Nullable(Float64),
    model_version LowCardinality(String),
    issued_ms Nullable(Int64),
    schema UInt16,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    INDEX by_event event_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (user_id, event_id, received_ms, topic_id, `partition`, `offset`);

-- A playlist as served, one row a revision.
CREATE TABLE IF NOT EXISTS animusic.playlists
(
    user_id String,
    playlist_id UUID,
    revision UInt16,
    served_ms UInt64,
    slots UInt16,
    picks Array(LowCardinality(String)),
    slot_order LowCardinality(String),
    withdrawn Array(String),
    reflects Map(String, UInt64),
    profile_digest String,
    fresh Bool,
    cold LowCardinality(String),
    cold_weight Float64,
    cold_songs Array(String),
    left_out Map(String, String),
    from_slot UInt16,
    generation LowCardinality(String),
    schema UInt16,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (user_id, playlist_id, revision, topic_id, `partition`, `offset`);

-- The slots of each revision. `kept`: an earlier revision had served it already; it is no new exposure.
CREATE TABLE IF NOT EXISTS animusic.served_slots
(
    user_id String,
    playlist_id UUID,
    revision UInt16,
    slot UInt8,
    served_ms UInt64,
    song_id String,
    anime_id String,
    arm LowCardinality(String),
    p_arm Float64,
    p_song Float64,
    score Float64,
    model_version LowCardinality(String),
    kept Bool,
    slot_order LowCardinality(String),
    cold LowCardinality(String),
    cold_weight Float64,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (user_id, playlist_id, revision, slot, topic_id, `partition`, `offset`);

-- Every state of a song that the catalogue topic told; the view `songs` shows the last.
CREATE TABLE IF NOT EXISTS animusic.catalogue
(
    song_id String,
    withdrawn Bool,
    title String,
    anime_id String,
    anime String,
    mal_id Nullable(UInt32),
    mal_score Nullable(Float64),
    mal_popularity Nullable(UInt32),
    genres Array(String),
    anime_ids Array(String),
    relations Array(String),
    vocals Array(String),
    lyrics Array(String),
    composition Array(String),
    arrangement Array(String),
    tags Array(String),
    rating Nullable(Float64),
    youtube_id String,
    youtube_views Nullable(UInt64),
    youtube_likes Nullable(UInt64),
    made_up Bool,
    logged_ms UInt64,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (song_id, topic_id, `partition`, `offset`);

-- Every switch of an arm to a model; the view `live_models` shows the last.
CREATE TABLE IF NOT EXISTS animusic.model_switches
(
    arm LowCardinality(String),
    version String,
    vectors LowCardinality(String),
    dimension UInt32,
    songs UInt32,
    catalogue_digest String,
    built_ms UInt64,
    params String,
    logged_ms UInt64,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (arm, topic_id, `partition`, `offset`);

-- Users who asked to be forgotten. Nothing in these views shows them again, whatever is replayed.
CREATE TABLE IF NOT EXISTS animusic.forgotten
(
    user_id String,
    received_ms UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (user_id, received_ms);

-- How far into the log the rows above reach: the offset of the next record. Inserted after the rows' insert has returned.
CREATE TABLE IF NOT EXISTS animusic.marks
(
    topic_id String,
    `partition` UInt32,
    topic LowCardinality(String),
    mark SimpleAggregateFunction(max, UInt64),
    inserted_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) DEFAULT now64(3, 'UTC')
)
ENGINE = AggregatingMergeTree
ORDER BY (topic_id, `partition`, topic);

-- Records that the log had lost before they came here: from (inclusive) to (exclusive).
CREATE TABLE IF NOT EXISTS animusic.gaps
(
    topic_id String,
    topic LowCardinality(String),
    `partition` UInt32,
    from_offset UInt64,
    to_offset UInt64,
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (topic_id, `partition`, from_offset, to_offset);
