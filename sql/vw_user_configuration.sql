-- Each user's configuration, as the latest gemini_cli.config says: the CLI writes one at its start.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_user_configuration` AS
SELECT
  ${user},
  cli_version,
  model,
  COALESCE(
    JSON_VALUE(jsonPayload_json, '$.approval_mode'),
    JSON_VALUE(jsonPayload_json, '$.attributes.approval_mode')
  ) AS approval_mode,
  SAFE_CAST(COALESCE(
    JSON_VALUE(jsonPayload_json, '$.sandbox_enabled'),
    JSON_VALUE(jsonPayload_json, '$.attributes.sandbox_enabled')
  ) AS BOOL) AS sandbox_enabled,
  SAFE_CAST(COALESCE(
    JSON_VALUE(jsonPayload_json, '$.log_user_prompts_enabled'),
    JSON_VALUE(jsonPayload_json, '$.attributes.log_user_prompts_enabled')
  ) AS BOOL) AS log_prompts_enabled,
  COALESCE(
    JSON_VALUE(jsonPayload_json, '$.output_format'),
    JSON_VALUE(jsonPayload_json, '$.attributes.output_format')
  ) AS output_format,
  COALESCE(
    JSON_VALUE(jsonPayload_json, '$.extensions'),
    JSON_VALUE(jsonPayload_json, '$.attributes.extensions')
  ) AS extensions,
  SAFE_CAST(COALESCE(
    JSON_VALUE(jsonPayload_json, '$.extensions_count'),
    JSON_VALUE(jsonPayload_json, '$.attributes.extensions_count')
  ) AS INT64) AS extension_count,
  SAFE_CAST(COALESCE(
    JSON_VALUE(jsonPayload_json, '$.mcp_servers_count'),
    JSON_VALUE(jsonPayload_json, '$.attributes.mcp_servers_count')
  ) AS INT64) AS mcp_servers_count,
  timestamp AS last_config_timestamp
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name = 'gemini_cli.config'
QUALIFY ROW_NUMBER() OVER (PARTITION BY ${user} ORDER BY timestamp DESC, event_timestamp DESC, insertId DESC) = 1
