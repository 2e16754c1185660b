-- Who counted which ids (contracts/ledger.py): the gateway what was acknowledged to it, the probe what it then read in the
-- topic. Both are ranges of offsets, so each is held against the rows of `feedback` by itself. Digests are the sum of event
-- ids modulo 2^128. Said twice, or said again with a later end, counts once.

CREATE TABLE IF NOT EXISTS animusic.ledger_spans
(
    source LowCardinality(String),
    writer String,
    topic LowCardinality(String),
    topic_id LowCardinality(String),
    `partition` UInt32,
    hour_ms UInt64,
    first UInt64,
    upto UInt64,
    records UInt64,
    digest String,
    unreadable UInt64,
    said_ms UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (topic_id, `partition`, source, first, writer, upto)
TTL toDateTime(intDiv(hour_ms, 1000)) + toIntervalDay(90);

-- How far the live generation of profiles was when the probe looked.
CREATE TABLE IF NOT EXISTS animusic.ledger_folded
(
    topic LowCardinality(String),
    topic_id LowCardinality(String),
    `partition` UInt32,
    mark UInt64,
    said_ms UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (topic_id, `partition`, said_ms)
TTL toDateTime(intDiv(said_ms, 1000)) + toIntervalDay(90);

-- The synthetic listener's rounds.
CREATE TABLE IF NOT EXISTS animusic.probe_rounds
(
    user_id String,
    began_ms UInt64,
    accepted_ms Nullable(Float64),
    profile_ms Nullable(Float64),
    playlist_ms Nullable(Float64),
    warehouse_ms Nullable(Float64),
    trouble String
)
ENGINE = ReplacingMergeTree
ORDER BY (began_ms, user_id)
TTL toDateTime(intDiv(began_ms, 1000)) + toIntervalDay(90);

-- Each range once, of the last two days. Of two that begin at one offset the longer one is the later one.
CREATE OR REPLACE VIEW animusic.ledger_claims AS
SELECT
    source,
    writer,
    topic,
    topic_id,
    `partition`,
    hour_ms,
    first,
    upto,
    records,
    reinterpretAsUInt128(reverse(unhex(digest))) AS claimed,
    unreadable
FROM animusic.ledger_spans
WHERE hour_ms >= intDiv(toUnixTimestamp64Milli(now64(3)), 3600000) * 3600000 - 172800000
ORDER BY upto DESC, said_ms DESC
LIMIT 1 BY source, if(source = 'gateway', writer, ''), topic_id, `partition`, first;

-- Hours of a partition whose totals do not agree: numbers and digests of what was claimed against the rows, up to where each
-- counter has come. In all others no range needs a look. A row that was inserted twice and is not merged yet is a doubt, too.
CREATE OR REPLACE VIEW animusic.ledger_doubts AS
SELECT topic_id, `partition`, hour_ms
FROM
(
    SELECT
        topic_id,
        `partition`,
        hour_ms,
        toInt64(sumIf(records, source = 'gateway')) AS accepted,
        sumIf(claimed, source = 'gateway') AS accepted_digest,
        toInt64(sumIf(records, source = 'topic')) AS counted,
        sumIf(claimed, source = 'topic') AS counted_digest
    FROM animusic.ledger_claims
    GROUP BY topic_id, `partition`, hour_ms
    UNION ALL
    SELECT
        topic_id,
        `partition`,
        intDiv(received_ms, 3600000) * 3600000 AS hour_ms,
        -toInt64(countIf(`offset` < to_accounted)),
        0 - sumIf(toUInt128(event_id), `offset` < to_accounted),
        -toInt64(countIf(`offset` < to_counted)),
        0 - sumIf(toUInt128(event_id), `offset` < to_counted)
    FROM animusic.feedback AS f
    LEFT JOIN
    (
        SELECT
            topic_id,
            `partition`,
            maxIf(upto, source = 'gateway') AS to_accounted,
            maxIf(upto, source = 'topic') AS to_counted
        FROM animusic.ledger_claims
        GROUP BY topic_id, `partition`
    ) AS reach USING (topic_id, `partition`)
    WHERE received_ms >= intDiv(toUnixTimestamp64Milli(now64(3)), 3600000) * 3600000 - 172800000
    GROUP BY topic_id, `partition`, hour_ms
)
GROUP BY topic_id, `partition`, hour_ms
HAVING sum(accepted) != 0 OR sum(counted) != 0
    OR toUInt128(sum(toInt128(accepted_digest))) != 0 OR toUInt128(sum(toInt128(counted_digest))) != 0;

-- Per hour of receipt and partition: what was claimed and what there is. `settled`: rows that an account must know by now.
CREATE OR REPLACE VIEW animusic.ledger_totals AS
SELECT
    topic_id,
    `partition`,
    hour_ms,
    sum(n_accepted) AS accepted,
    sum(n_topic) AS in_topic,
    sum(n_unreadable) AS unreadable,
    sum(n_rows) AS in_clickhouse,
    sum(n_settled) AS settled,
    sum(n_rows) - sum(n_ids) AS duplicates
FROM
(
    SELECT
        topic_id,
        `partition`,
        hour_ms,
        sumIf(records, source = 'gateway') AS n_accepted,
        sumIf(records, source = 'topic') AS n_topic,
        sum(unreadable) AS n_unreadable,
        0 AS n_rows,
        0 AS n_settled,
        0 AS n_ids
    FROM animusic.ledger_claims
    GROUP BY topic_id, `partition`, hour_ms
    UNION ALL
    SELECT
        topic_id,
        `partition`,
        intDiv(received_ms, 3600000) * 3600000 AS hour_ms,
        0,
        0,
        0,
        uniqExact(`offset`),
        uniqExactIf(`offset`, received_ms < toUnixTimestamp64Milli(now64(3)) - 20000),
        uniqExact(event_id)
    FROM animusic.feedback
    WHERE received_ms >= intDiv(toUnixTimestamp64Milli(now64(3)), 3600000) * 3600000 - 172800000
    GROUP BY topic_id, `partition`, hour_ms
)
GROUP BY topic_id, `partition`, hour_ms;

-- Every range of the hours in doubt, beside what ClickHouse has of it. `read`: the warehouse has come
-- past it, so a row that is missing stays missing. `missing_id`: where one id is missing, the
-- difference of the digests is that id.
CREATE OR REPLACE VIEW animusic.ledger_checks AS
SELECT
    c.source AS source,
    c.writer AS writer,
    c.topic AS topic,
    c.topic_id AS topic_id,
    c.`partition` AS `partition`,
    c.hour_ms AS hour_ms,
    c.first AS first,
    c.upto AS upto,
    c.records AS records,
    h.found AS found,
    m.mark >= c.upto AS read,
    if(read AND records > found, records - found, 0) AS missing,
    read AND records <= found AND c.claimed != h.held AS differs,
    if(missing = 1, UUIDNumToString(toFixedString(reverse(reinterpretAsFixedString(toUInt128(c.claimed - h.held))), 16)), '') AS missing_id
FROM
(
    SELECT * FROM animusic.ledger_claims
    WHERE (topic_id, `partition`, hour_ms) IN (SELECT topic_id, `partition`, hour_ms FROM animusic.ledger_doubts)
) AS c
LEFT JOIN
(
    SELECT
        s.source AS source,
        s.writer AS writer,
        s.topic_id AS topic_id,
        s.`partition` AS `partition`,
        s.first AS first,
        countIf(r.`offset` < s.upto) AS found,
        sumIf(toUInt128(r.event_id), r.`offset` < s.upto) AS held
    FROM
    (
        SELECT DISTINCT topic_id, `partition`, `offset`, event_id, source
        FROM animusic.feedback
        ARRAY JOIN ['gateway', 'topic'] AS source
        WHERE received_ms >= intDiv(toUnixTimestamp64Milli(now64(3)), 3600000) * 3600000 - 172800000
            AND (topic_id, `partition`, intDiv(received_ms, 3600000) * 3600000)
                IN (SELECT topic_id, `partition`, hour_ms FROM animusic.ledger_doubts)
    ) AS r
    ASOF JOIN animusic.ledger_claims AS s
        ON r.source = s.source AND r.topic_id = s.topic_id AND r.`partition` = s.`partition` AND r.`offset` >= s.first
    GROUP BY source, writer, topic_id, `partition`, first
) AS h USING (source, writer, topic_id, `partition`, first)
LEFT JOIN
(
    SELECT topic_id, `partition`, max(mark) AS mark FROM animusic.marks GROUP BY topic_id, `partition`
) AS m ON m.topic_id = c.topic_id AND m.`partition` = c.`partition`;

-- The ledger: per hour of receipt and partition, the ids that the gateway accepted, the topic holds, ClickHouse holds and the
-- fold used (the mark of the live profiles is past them), over the last two days.
--   lost_in_topic       accepted, and neither the topic nor ClickHouse has it
--   lost_in_clickhouse  in the topic, the warehouse has read past it, and there is no row
--   differs             ranges whose number is right and whose ids are not
--   unaccounted         rows older than 20 s in no gateway's account: unknown (a killed gateway, redriven, restored), not lost
--   waiting             in the topic, and the fold has not used it yet
--   duplicates          ids that were appended again (clients' retries): before the fold; it uses an id once
CREATE OR REPLACE VIEW animusic.ledger AS
SELECT
    toDateTime(intDiv(t.hour_ms, 1000), 'UTC') AS hour,
    'animusic.feedback.v1' AS topic,
    t.topic_id AS topic_id,
    t.`partition` AS `partition`,
    t.accepted AS accepted,
    t.in_topic AS in_topic,
    t.in_clickhouse AS in_clickhouse,
    u.used AS used,
    greatest(0, toInt64(c.missing_accepted) - toInt64(c.missing_counted)) AS lost_in_topic,
    c.missing_counted AS lost_in_clickhouse,
    c.differing AS differs,
    greatest(0, toInt64(t.settled) - toInt64(if(c.ranges = 0, t.accepted, c.covered))) AS unaccounted,
    toInt64(t.in_topic) - toInt64(u.used) AS waiting,
    t.duplicates AS duplicates,
    t.unreadable AS unreadable,
    1e6 * (lost_in_topic + lost_in_clickhouse) / greatest(t.accepted, t.in_topic, t.in_clickhouse) AS loss_ppm,
    1e6 * t.duplicates / greatest(t.in_clickhouse, 1) AS duplicates_ppm
FROM animusic.ledger_totals AS t
LEFT JOIN
(
    SELECT
        topic_id,
        `partition`,
        hour_ms,
        sumIf(missing, source = 'gateway') AS missing_accepted,
        sumIf(missing, source = 'topic') AS missing_counted,
        countIf(differs) AS differing,
        count() AS ranges,
        sumIf(found, source = 'gateway') AS covered
    FROM animusic.ledger_checks
    GROUP BY topic_id, `partition`, hour_ms
) AS c ON c.topic_id = t.topic_id AND c.`partition` = t.`partition` AND c.hour_ms = t.hour_ms
LEFT JOIN
(
    SELECT
        s.topic_id AS topic_id,
        s.`partition` AS `partition`,
        s.hour_ms AS hour_ms,
        sum(least(s.records, if(f.mark > s.first, f.mark - s.first, 0))) AS used
    FROM animusic.ledger_claims AS s
    LEFT JOIN
    (
        SELECT topic_id, `partition`, argMax(mark, said_ms) AS mark
        FROM animusic.ledger_folded
        GROUP BY topic_id, `partition`
    ) AS f ON f.topic_id = s.topic_id AND f.`partition` = s.`partition`
    WHERE s.source = 'topic'
    GROUP BY topic_id, `partition`, hour_ms
) AS u ON u.topic_id = t.topic_id AND u.`partition` = t.`partition` AND u.hour_ms = t.hour_ms
ORDER BY hour, topic_id, `partition`;

-- What the synthetic listener found, a row an hour: quantiles of each leg in ms, how many rounds, and how many did not end well.
CREATE OR REPLACE VIEW animusic.freshness AS
SELECT
    toDateTime(intDiv(began_ms, 3600000) * 3600, 'UTC') AS hour,
    count() AS rounds,
    countIf(trouble != '') AS failed,
    quantile(0.5)(accepted_ms) AS accepted_p50,
    quantile(0.99)(accepted_ms) AS accepted_p99,
    quantile(0.5)(profile_ms) AS profile_p50,
    quantile(0.99)(profile_ms) AS profile_p99,
    quantile(0.5)(playlist_ms) AS playlist_p50,
    quantile(0.99)(playlist_ms) AS playlist_p99,
    quantile(0.5)(warehouse_ms) AS warehouse_p50,
    quantile(0.99)(warehouse_ms) AS warehouse_p99,
    argMax(trouble, began_ms) AS last_trouble
FROM animusic.probe_rounds FINAL
GROUP BY hour
ORDER BY hour;
