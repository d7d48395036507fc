-- Tokens used per day, user and model. Only an api_response carries token counts, so only it is read; the
-- gen_ai.* record beside it repeats two of them and is not counted again.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE MATERIALIZED VIEW `${project}.${dataset}.vw_token_usage`
OPTIONS (
  enable_refresh = true,
  refresh_interval_minutes = 60,
  max_staleness = INTERVAL "2:0:0" HOUR TO SECOND,
  allow_non_incremental_definition = true
) AS
SELECT
  DATE(timestamp) AS day,
  ${user},
  model,
  IFNULL(SUM(input_tokens), 0) AS total_input_tokens,
  IFNULL(SUM(output_tokens), 0) AS total_output_tokens,
  IFNULL(SUM(cached_tokens), 0) AS total_cached_tokens,
  IFNULL(SUM(thoughts_tokens), 0) AS total_thoughts_tokens,
  IFNULL(SUM(total_tokens), 0) AS grand_total_tokens
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name = 'gemini_cli.api_response'
GROUP BY day, ${user}, model
