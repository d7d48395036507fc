-- Tool calls per day, tool and kind of tool: how many, how many went well, how long they took. A call
-- that says neither that it succeeded nor that it failed counts only in total_calls.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_tool_performance` AS
SELECT
  DATE(timestamp) AS day,
  function_name,
  tool_type,
  COUNT(*) AS total_calls,
  COUNTIF(function_success) AS successful_calls,
  COUNTIF(NOT function_success) AS failed_calls,
  SAFE_DIVIDE(COUNTIF(function_success), COUNT(*)) AS success_rate,
  AVG(function_duration_ms) AS average_execution_duration_ms,
  APPROX_QUANTILES(function_duration_ms, 100)[OFFSET(95)] AS p95_execution_duration_ms
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name = 'gemini_cli.tool_call'
GROUP BY day, function_name, tool_type
