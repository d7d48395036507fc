-- Requests, tokens and errors per minute (UTC), user and model, with the totals of the hour and the day that the
-- minute is in. A minute without a request has no row. An error is an api_error, an error 429 one of status 429.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_quota_tracking` AS
WITH minutes AS (
  SELECT
    DATE(timestamp) AS day,
    EXTRACT(HOUR FROM timestamp) AS hour,
    EXTRACT(MINUTE FROM timestamp) AS minute,
    ${user},
    model,
    COUNT(*) AS requests_per_minute,
    IFNULL(SUM(input_tokens), 0) AS input_tokens_per_minute,
    IFNULL(SUM(output_tokens), 0) AS output_tokens_per_minute,
    IFNULL(SUM(total_tokens), 0) AS total_tokens_per_minute,
    COUNTIF(event_name = 'gemini_cli.api_error' AND status_code = 429) AS error_429_count_per_minute,
    COUNTIF(event_name = 'gemini_cli.api_error') AS total_errors_per_minute
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error')
  GROUP BY day, hour, minute, ${user}, model
)
SELECT
  day,
  hour,
  minute,
  ${user},
  model,
  requests_per_minute,
  input_tokens_per_minute,
  output_tokens_per_minute,
  total_tokens_per_minute,
  SUM(requests_per_minute) OVER (PARTITION BY day, ${user}, model) AS requests_per_day,
  error_429_count_per_minute,
  SUM(error_429_count_per_minute) OVER (PARTITION BY day, ${user}, model, hour) AS error_429_count_per_hour,
  SUM(error_429_count_per_minute) OVER (PARTITION BY day, ${user}, model) AS error_429_count_per_day,
  total_errors_per_minute
FROM minutes
