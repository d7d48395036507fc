-- How long requests to the model took, per day and model, answered and failed ones alike. A request that names no
-- duration is counted and not measured.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_latency_percentiles` AS
SELECT
  DATE(timestamp) AS day,
  model,
  COUNT(*) AS request_count,
  APPROX_QUANTILES(duration_ms, 100)[OFFSET(50)] AS p50_duration_ms,
  APPROX_QUANTILES(duration_ms, 100)[OFFSET(90)] AS p90_duration_ms,
  APPROX_QUANTILES(duration_ms, 100)[OFFSET(95)] AS p95_duration_ms,
  APPROX_QUANTILES(duration_ms, 100)[OFFSET(99)] AS p99_duration_ms,
  MAX(duration_ms) AS max_duration_ms
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error')
GROUP BY day, model
