-- Finished conversations and their turns, per day, user, version of the CLI and approval mode. The CLI spells the two
-- attributes of this event in camel case.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE MATERIALIZED VIEW `${project}.${dataset}.vw_conversation_analysis`
OPTIONS (
  enable_refresh = true,
  refresh_interval_minutes = 60,
  max_staleness = INTERVAL "2:0:0" HOUR TO SECOND,
  allow_non_incremental_definition = true
) AS
WITH conversations AS (
  SELECT
    DATE(timestamp) AS day,
    ${user},
    cli_version,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.approvalMode'),
      JSON_VALUE(jsonPayload_json, '$.approval_mode'),
      JSON_VALUE(jsonPayload_json, '$.attributes.approvalMode'),
      JSON_VALUE(jsonPayload_json, '$.attributes.approval_mode')
    ) AS approval_mode,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.turnCount'),
      JSON_VALUE(jsonPayload_json, '$.turn_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.turnCount'),
      JSON_VALUE(jsonPayload_json, '$.attributes.turn_count')
    ) AS INT64) AS turns
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.conversation_finished'
)
SELECT
  day,
  ${user},
  cli_version,
  approval_mode,
  COUNT(*) AS conversation_count,
  AVG(turns) AS avg_turn_count,
  MIN(turns) AS min_turn_count,
  MAX(turns) AS max_turn_count
FROM conversations
GROUP BY day, ${user}, cli_version, approval_mode
