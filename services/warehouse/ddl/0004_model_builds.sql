-- What each build of a model cost and came to, and every switch of an arm. One row a log record, as in 0001: text that is
-- absent is '', a number NULL. A build that was killed has no row.

CREATE TABLE IF NOT EXISTS animusic.model_builds
(
    arm LowCardinality(String),
    version String,
    outcome LowCardinality(String),
    went_live Bool,
    replaced String,
    why String,
    started_ms UInt64,
    seconds Float64,
    cpu_seconds Float64,
    peak_memory_bytes UInt64,
    songs UInt32,
    encoded UInt32,
    reused UInt32,
    left_out UInt32,
    recall Nullable(Float64),
    stage_seconds Map(String, Float64),
    stage_cpu_seconds Map(String, Float64),
    params String,
    cores Nullable(UInt16),
    architecture LowCardinality(String),
    device LowCardinality(String),
    logged_ms UInt64,
    topic_id LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (arm, topic_id, `partition`, `offset`);

-- Every build and switch once, the newest first.
CREATE OR REPLACE VIEW animusic.builds AS
SELECT
    fromUnixTimestamp64Milli(toInt64(started_ms), 'UTC') AS started_at,
    * EXCEPT (started_ms, logged_ms, topic_id, `partition`, `offset`, inserted_at)
FROM animusic.model_builds FINAL
ORDER BY logged_ms DESC, arm, `offset` DESC;

-- What the stages of a build took: the last build of each arm that was made whole, one row a stage.
CREATE OR REPLACE VIEW animusic.build_stages AS
SELECT
    arm,
    version,
    started_at,
    songs,
    stage,
    stage_seconds[stage] AS seconds,
    stage_cpu_seconds[stage] AS cpu_seconds,
    1000 * cpu_seconds / songs AS cpu_ms_per_song
FROM
(
    SELECT * FROM animusic.builds WHERE outcome = 'built' AND songs > 0 ORDER BY arm, started_at DESC LIMIT 1 BY arm
)
ARRAY JOIN mapKeys(stage_seconds) AS stage
ORDER BY arm, indexOf(['catalogue', 'vectors', 'checks', 'index', 'publish'], stage);
