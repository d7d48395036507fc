-- Requests to the model per day and model. A request is an api_response or an api_error; the CLI's
-- gen_ai.client.inference.operation.details, written beside each of them, is not counted again.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.daily_metrics` AS
SELECT
  DATE(timestamp) AS day,
  model,
  COUNT(*) AS request_count,
  COUNT(DISTINCT ${user}) AS distinct_users,
  IFNULL(SUM(input_tokens), 0) AS total_input_tokens,
  IFNULL(SUM(output_tokens), 0) AS total_output_tokens,
  IFNULL(SUM(total_tokens), 0) AS total_tokens,
  AVG(duration_ms) AS average_duration_ms,
  COUNTIF(event_name = 'gemini_cli.api_error') AS error_count
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error')
GROUP BY day, model
