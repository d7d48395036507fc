-- Each user's first and last sign of life, sessions and requests. First, last and sessions are those of all
-- records; the rest is of requests, that is api_response and api_error.
--
-- Grouped by session first: counting distinct sessions of all records at once takes several times as long.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_user_activity` AS
WITH sessions AS (
  SELECT
    ${user},
    session_id,
    MIN(timestamp) AS first_record,
    MAX(timestamp) AS last_record,
    COUNTIF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error')) AS requests,
    COUNT(IF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error'), duration_ms, NULL)) AS timed_requests,
    SUM(IF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error'), duration_ms, NULL)) AS total_duration_ms,
    SUM(IF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error'), total_tokens, NULL)) AS tokens
  FROM `${project}.${dataset}.gemini_analytics_view`
  GROUP BY ${user}, session_id
)
SELECT
  ${user},
  MIN(first_record) AS first_seen,
  MAX(last_record) AS last_seen,
  SUM(requests) AS total_requests,
  COUNT(session_id) AS total_sessions,
  SAFE_DIVIDE(SUM(total_duration_ms), SUM(timed_requests)) AS average_request_duration_ms,
  IFNULL(SUM(tokens), 0) AS total_tokens_used
FROM sessions
GROUP BY ${user}
