-- Answers that should have been JSON and were not, per day, model and user.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE MATERIALIZED VIEW `${project}.${dataset}.vw_malformed_json_responses`
OPTIONS (
  enable_refresh = true,
  refresh_interval_minutes = 60,
  max_staleness = INTERVAL "2:0:0" HOUR TO SECOND,
  allow_non_incremental_definition = true
) AS
SELECT
  DATE(timestamp) AS day,
  model,
  ${user},
  COUNT(*) AS malformed_json_count
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name = 'gemini_cli.malformed_json_response'
GROUP BY day, model, ${user}
