-- Which model the router chose and who decided, per day: how often, how often it failed, how long it took.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_model_routing_analysis` AS
WITH decisions AS (
  SELECT
    DATE(timestamp) AS day,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.decision_source'),
      JSON_VALUE(jsonPayload_json, '$.attributes.decision_source')
    ) AS decision_source,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.decision_model'),
      JSON_VALUE(jsonPayload_json, '$.attributes.decision_model')
    ) AS decision_model,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.failed'),
      JSON_VALUE(jsonPayload_json, '$.attributes.failed')
    ) AS BOOL) AS failed,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.routing_latency_ms'),
      JSON_VALUE(jsonPayload_json, '$.attributes.routing_latency_ms')
    ) AS FLOAT64) AS routing_latency_ms
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.model_routing'
)
SELECT
  day,
  decision_source,
  decision_model,
  COUNT(*) AS decision_count,
  COUNTIF(failed) AS failure_count,
  SAFE_DIVIDE(COUNTIF(failed), COUNT(*)) AS failure_rate,
  AVG(routing_latency_ms) AS avg_routing_latency_ms
FROM decisions
GROUP BY day, decision_source, decision_model
