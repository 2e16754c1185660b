-- The first row of the marks: a number of its own, drawn when the table is made or found empty (services/warehouse/marks.py).
-- Marks without it were inserted behind a wipe, and stand for rows that are gone: nobody believes them.
INSERT INTO animusic.marks (topic_id, `partition`, topic, mark) SELECT '', 0, 'beginning', rand64();

CREATE OR REPLACE VIEW animusic.marks_clean AS
SELECT topic_id, topic, `partition`, max(mark) AS mark, max(inserted_at) AS inserted_at
FROM animusic.marks
WHERE topic_id != ''
GROUP BY topic_id, topic, `partition`
ORDER BY topic, topic_id, `partition`;
