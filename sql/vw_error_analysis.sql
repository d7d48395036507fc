-- What went wrong, how often and for how many users: failed requests (api_error) and failed tool calls. The last
-- column says which of the two a row counts. A tool call has no model.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_error_analysis` AS
WITH errors AS (
  SELECT
    DATE(timestamp) AS day,
    cli_version,
    model,
    error_code,
    COALESCE(error_message, error) AS message,
    ${user},
    event_name
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.api_error'
    OR (event_name = 'gemini_cli.tool_call' AND NOT function_success)
)
SELECT
  day,
  cli_version,
  model,
  error_code,
  message AS error_message,
  COUNT(*) AS error_count,
  COUNT(DISTINCT ${user}) AS distinct_users_affected,
  event_name
FROM errors
GROUP BY day, cli_version, model, error_code, message, event_name
