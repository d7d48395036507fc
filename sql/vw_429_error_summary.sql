-- Requests that met a quota (api_error of status 429), by model and by what the message says: addresses, times, ids and
-- numbers in it are replaced, so that messages which differ only in them are one row.
--
-- peak_per_minute is the most such errors in one minute of the clock.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_429_error_summary` AS
WITH errors AS (
  SELECT
    model,
    ${user},
    timestamp,
    REGEXP_REPLACE(
      REGEXP_REPLACE(
        REGEXP_REPLACE(
          REGEXP_REPLACE(
            REGEXP_REPLACE(
              COALESCE(error_message, error),
              r'https?://[^\s"<>\\]+', '<url>'
            ),
            r'[\w.+-]+@[\w-]+(?:\.[\w-]+)+', '<email>'
          ),
          r'\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?', '<time>'
        ),
        r'[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}|\b[0-9A-Fa-f]{16,}\b|projects/[\w-]+', '<id>'
      ),
      r'\d+(?:[.,]\d+)*', '<number>'
    ) AS error_message_pattern
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.api_error' AND status_code = 429
),
counted AS (
  SELECT
    *,
    COUNT(*) OVER (
      PARTITION BY model, error_message_pattern, TIMESTAMP_TRUNC(timestamp, MINUTE)
    ) AS errors_of_the_minute
  FROM errors
)
SELECT
  model,
  error_message_pattern,
  COUNT(*) AS total_429_errors,
  COUNT(DISTINCT ${user}) AS distinct_users,
  MIN(timestamp) AS oldest_error,
  MAX(timestamp) AS newest_error,
  MAX(errors_of_the_minute) AS peak_per_minute
FROM counted
GROUP BY model, error_message_pattern
