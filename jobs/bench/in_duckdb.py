"""Implements ingest's rules 1 to 4 in DuckDB, as a comparison for `bench ingest`."""

from __future__ import annotations

from pathlib import Path

import duckdb

_ISO = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-](0\d|1[0-8]):[0-5]\d)?"

# Parsed fields of each line, or the reason for its rejection. A line that DuckDB cannot read becomes a row of nulls
# without its text. DuckDB takes the last value of a repeated field; ingest rejects such a line.
_PARSED = rf"""
CREATE TEMP TABLE parsed AS
SELECT row_number() OVER () AS row, * EXCLUDE (time, shown), time AS logged_time, try_cast(time AS TIMESTAMPTZ) AS t,
  CASE WHEN len(list_distinct(shown)) < len(shown)
    THEN list_filter(shown, lambda news, place: list_position(shown, news) = place) ELSE shown END AS shown,
  CASE
    WHEN impression_id IS NULL OR user_id IS NULL OR time IS NULL OR history IS NULL OR shown IS NULL THEN 'unreadable'
    WHEN regexp_matches(impression_id || user_id, '[\\\s\x00-\x1f]') THEN 'bad_id'
    WHEN NOT regexp_full_match(time, '{_ISO}') OR try_cast(time AS TIMESTAMPTZ) IS NULL
      OR try_cast(time AS TIMESTAMPTZ) NOT BETWEEN '1990-01-01' AND now() + INTERVAL 1 DAY THEN 'bad_time'
    WHEN len(shown) = 0 THEN 'nothing_shown'
    WHEN len(list_filter(clicked, lambda news: coalesce(news, '') = '')) > 0 THEN 'bad_click_mark'
    WHEN NOT list_has_all(shown, clicked) THEN 'clicked_not_shown' END AS reason
FROM read_json($files, format = 'newline_delimited', ignore_errors = true, columns = {{impression_id: 'VARCHAR',
  user_id: 'VARCHAR', time: 'VARCHAR', history: 'VARCHAR[]', shown: 'VARCHAR[]', clicked: 'VARCHAR[]'}})
"""

# Rule 2: lines with the same id and user form one chain while no gap between their times exceeds 24 h. Rule 3: lines
# with the same user, second and set of shown news form one sight. An impression is a connected component of both.
_NODES = """
CREATE TEMP TABLE spaced AS
SELECT row, user_id, impression_id, t, hash(list_sort(shown)) AS shown_set,
  coalesce(t - lag(t) OVER chain > INTERVAL 24 HOURS, true) AS begins
FROM parsed WHERE reason IS NULL WINDOW chain AS (PARTITION BY user_id, impression_id ORDER BY t, row);

CREATE TEMP TABLE nodes AS
SELECT row, min(row) OVER (PARTITION BY user_id, t, shown_set) AS sight,
  last_value(CASE WHEN begins THEN row END IGNORE NULLS) OVER (
    PARTITION BY user_id, impression_id ORDER BY t, row ROWS UNBOUNDED PRECEDING) AS chain
FROM spaced;

CREATE TEMP TABLE links AS
SELECT chain, sight, chain AS label FROM (
  SELECT DISTINCT chain, sight FROM nodes
  WHERE sight IN (SELECT sight FROM nodes GROUP BY sight HAVING min(chain) <> max(chain)));
"""

_RELABEL = """
CREATE OR REPLACE TEMP TABLE links AS
SELECT chain, sight, least(min(label) OVER (PARTITION BY chain), min(label) OVER (PARTITION BY sight)) AS label
FROM links
"""

_IMPRESSIONS = """
CREATE TEMP TABLE parts AS
SELECT coalesce(label, chain) AS impression, j.* EXCLUDE (reason, logged_time) FROM nodes
  JOIN parsed j USING (row) LEFT JOIN (SELECT chain, min(label) AS label FROM links GROUP BY chain) USING (chain);

CREATE TEMP TABLE joined AS
SELECT impression FROM parts GROUP BY impression HAVING count(*) > 1;

CREATE TEMP TABLE impressions AS
SELECT impression_id, user_id, t AS time, t AS last_time, history, shown, clicked, []::VARCHAR[] AS also_seen_as
FROM parts ANTI JOIN joined USING (impression)
UNION ALL
SELECT head.id, user_id, time, last_time, history, CASE WHEN first = last THEN first ELSE every END, clicked,
  list_filter(ids, lambda id: id <> head.id)
FROM (
  SELECT list_sort(list_distinct(list(impression_id))) AS ids, min(user_id) AS user_id, min(t) AS time,
    min({'second': date_trunc('second', t), 'id': impression_id}) AS head,
    max(t) AS last_time, arg_max(history, len(history)) AS history, min(shown) AS first, max(shown) AS last,
    list_sort(list_distinct(flatten(list(shown)))) AS every,
    flatten(list(clicked) FILTER (clicked IS NOT NULL)) AS clicked
  FROM parts SEMI JOIN joined USING (impression) GROUP BY impression);
"""

# Stores each user's histories once: nearly all are a prefix of the longest one.
_HISTORIES = """
CREATE TEMP TABLE longest AS
SELECT user_id, arg_max(history, len(history)) AS clicks FROM impressions GROUP BY user_id;

CREATE TEMP TABLE others AS
SELECT DISTINCT user_id, history AS clicks FROM impressions i JOIN longest l USING (user_id)
WHERE l.clicks[:len(history)] <> history;

CREATE TEMP TABLE histories AS
SELECT user_id, clicks, hash(clicks) AS sequence_hash FROM longest
UNION ALL
SELECT user_id, clicks, hash(clicks) FROM (
  SELECT *, lead(clicks) OVER (PARTITION BY user_id ORDER BY clicks) AS following FROM others)
WHERE following IS NULL OR following[:len(clicks)] <> clicks;
"""

_WRITTEN = {
    "impressions": "SELECT impression_id, user_id, time, last_time, len(history) AS history_length, "
    "hash(history) AS history_hash, shown, also_seen_as, CASE WHEN clicked IS NOT NULL "
    "THEN list_transform(shown, lambda news: list_contains(clicked, news)) END AS clicked FROM impressions",
    "histories": "SELECT * FROM histories",
    "rejects": "SELECT * EXCLUDE (t) FROM parsed WHERE reason IS NOT NULL",
}


def dedupe(files: list[str], out: Path, *, threads: int) -> dict[str, int]:
    """Write impressions, histories and rejects of the log files as Parquet into `out`; return the row count of each."""
    with duckdb.connect(str(out / "work.duckdb")) as base:  # on disk, so that it can spill
        base.execute(f"SET threads = {threads}; SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
        base.execute("SET enable_progress_bar = false")
        base.execute(_PARSED, {"files": files})
        base.execute(_NODES)
        before, now = -1, 0
        while now != before:  # connected chains take the smallest label, until none changes
            base.execute(_RELABEL)
            before, now = now, _single_value(base, "SELECT coalesce(sum(label), 0) FROM links")
        base.execute(_IMPRESSIONS)
        base.execute(_HISTORIES)
        rows = {}
        for name, query in _WRITTEN.items():
            base.execute(f"COPY ({query}) TO '{out / name}.parquet' (FORMAT parquet, COMPRESSION zstd)")
            rows[name] = _single_value(base, f"SELECT count(*) FROM '{out / name}.parquet'")
    (out / "work.duckdb").unlink()
    return rows


def _single_value(base: duckdb.DuckDBPyConnection, query: str) -> int:
    row = base.execute(query).fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row[0])
