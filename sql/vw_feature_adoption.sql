-- Use of features per day, user and version of the CLI: slash commands, agents started, extensions installed. A day on
-- which a user used none of them has no row.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE MATERIALIZED VIEW `${project}.${dataset}.vw_feature_adoption`
OPTIONS (
  enable_refresh = true,
  refresh_interval_minutes = 60,
  max_staleness = INTERVAL "2:0:0" HOUR TO SECOND,
  allow_non_incremental_definition = true
) AS
SELECT
  DATE(timestamp) AS day,
  ${user},
  cli_version,
  COUNTIF(event_name = 'gemini_cli.slash_command') AS slash_command_usage_count,
  COUNTIF(event_name = 'gemini_cli.agent.start') AS agent_mode_usage_count,
  COUNTIF(event_name = 'gemini_cli.extension_install') AS extension_install_count
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE event_name IN ('gemini_cli.slash_command', 'gemini_cli.agent.start', 'gemini_cli.extension_install')
GROUP BY day, ${user}, cli_version
