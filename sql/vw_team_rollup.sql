-- Users, sessions, requests, tokens and errors per day and team. The team is what OTEL_RESOURCE_ATTRIBUTES says on the
-- CLI's machine: team.name, team, team.id, department or cost_center, whichever comes first. Resource attributes arrive
-- in the payload; collectors put them into the labels or the resource. NULL is everyone who names no team.
--
-- Users and sessions are those of all records; requests and errors as in daily_metrics. Grouped by session first:
-- counting distinct values of all records at once takes several times as long.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_team_rollup` AS
WITH sessions AS (
  SELECT
    DATE(timestamp) AS day,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."team.name"'),
      JSON_VALUE(jsonPayload_json, '$.team_name'),
      JSON_VALUE(jsonPayload_json, '$.team'),
      JSON_VALUE(jsonPayload_json, '$."team.id"'),
      JSON_VALUE(jsonPayload_json, '$.team_id'),
      JSON_VALUE(jsonPayload_json, '$.department'),
      JSON_VALUE(jsonPayload_json, '$.cost_center'),
      JSON_VALUE(jsonPayload_json, '$.attributes."team.name"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.team_name'),
      JSON_VALUE(jsonPayload_json, '$.attributes.team'),
      JSON_VALUE(jsonPayload_json, '$.attributes."team.id"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.team_id'),
      JSON_VALUE(jsonPayload_json, '$.attributes.department'),
      JSON_VALUE(jsonPayload_json, '$.attributes.cost_center'),
      JSON_VALUE(labels_json, '$."team.name"'),
      JSON_VALUE(labels_json, '$.team_name'),
      JSON_VALUE(labels_json, '$.team'),
      JSON_VALUE(labels_json, '$."team.id"'),
      JSON_VALUE(labels_json, '$.team_id'),
      JSON_VALUE(labels_json, '$.department'),
      JSON_VALUE(labels_json, '$.cost_center'),
      JSON_VALUE(resource_json, '$.labels."team.name"'),
      JSON_VALUE(resource_json, '$.labels.team_name'),
      JSON_VALUE(resource_json, '$.labels.team'),
      JSON_VALUE(resource_json, '$.labels."team.id"'),
      JSON_VALUE(resource_json, '$.labels.team_id'),
      JSON_VALUE(resource_json, '$.labels.department'),
      JSON_VALUE(resource_json, '$.labels.cost_center')
    ) AS team,
    ${user},
    session_id,
    COUNTIF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error')) AS requests,
    SUM(IF(event_name IN ('gemini_cli.api_response', 'gemini_cli.api_error'), total_tokens, NULL)) AS tokens,
    COUNTIF(event_name = 'gemini_cli.api_error') AS errors
  FROM `${project}.${dataset}.gemini_analytics_view`
  GROUP BY day, team, ${user}, session_id
)
SELECT
  day,
  team,
  COUNT(DISTINCT ${user}) AS distinct_users,
  COUNT(DISTINCT session_id) AS session_count,
  SUM(requests) AS request_count,
  IFNULL(SUM(tokens), 0) AS total_tokens,
  SUM(errors) AS error_count
FROM sessions
GROUP BY day, team
