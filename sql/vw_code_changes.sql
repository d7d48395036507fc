-- Lines that tool calls changed, written by the model and by the user who edited its proposal, and what users decided on
-- tool calls, per day and user. Lines count when the call succeeded.
--
-- The metadata of a call is JSON in a string. acceptance_rate is the share of the decided calls that were not rejected:
-- accepted by hand, by a rule or mode (auto), or after a change (modified). A call that fails before anyone is asked has
-- no decision. A count beyond a billion lines is none.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_code_changes` AS
WITH calls AS (
  SELECT
    DATE(timestamp) AS day,
    ${user},
    function_success,
    decision,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.metadata'),
      JSON_VALUE(jsonPayload_json, '$.attributes.metadata')
    ) AS metadata
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.tool_call'
),
changes AS (
  SELECT
    day,
    ${user},
    decision,
    IF(function_success, SAFE_CAST(JSON_VALUE(metadata, '$.model_added_lines') AS INT64), NULL) AS model_added_lines,
    IF(function_success, SAFE_CAST(JSON_VALUE(metadata, '$.model_removed_lines') AS INT64), NULL) AS model_removed_lines,
    IF(function_success, SAFE_CAST(JSON_VALUE(metadata, '$.user_added_lines') AS INT64), NULL) AS user_added_lines,
    IF(function_success, SAFE_CAST(JSON_VALUE(metadata, '$.user_removed_lines') AS INT64), NULL) AS user_removed_lines
  FROM calls
)
SELECT
  day,
  ${user},
  IFNULL(SUM(IF(model_added_lines BETWEEN 0 AND 1000000000, model_added_lines, NULL)), 0) AS model_lines_added,
  IFNULL(SUM(IF(model_removed_lines BETWEEN 0 AND 1000000000, model_removed_lines, NULL)), 0) AS model_lines_removed,
  IFNULL(SUM(IF(user_added_lines BETWEEN 0 AND 1000000000, user_added_lines, NULL)), 0) AS user_lines_added,
  IFNULL(SUM(IF(user_removed_lines BETWEEN 0 AND 1000000000, user_removed_lines, NULL)), 0) AS user_lines_removed,
  COUNT(*) AS tool_calls,
  COUNTIF(decision = 'accept') AS accepted_calls,
  COUNTIF(decision = 'auto_accept') AS auto_accepted_calls,
  COUNTIF(decision = 'modify') AS modified_calls,
  COUNTIF(decision = 'reject') AS rejected_calls,
  SAFE_DIVIDE(
    COUNTIF(decision IN ('accept', 'auto_accept', 'modify')),
    COUNTIF(decision IN ('accept', 'auto_accept', 'modify', 'reject'))
  ) AS acceptance_rate
FROM changes
GROUP BY day, ${user}
