-- How often the CLI had to help itself, per day and model: falls back to the flash model, retries of broken answers
-- and of the network, compressions of the conversation. Falls back and compressions name no model: theirs is NULL.
--
-- avg_compression_ratio is the mean of tokens after by tokens before: 0.2 is a conversation cut to a fifth.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_cli_performance_and_resilience` AS
WITH events AS (
  SELECT
    DATE(timestamp) AS day,
    model,
    event_name,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.tokens_before'),
      JSON_VALUE(jsonPayload_json, '$.attributes.tokens_before')
    ) AS INT64) AS tokens_before,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.tokens_after'),
      JSON_VALUE(jsonPayload_json, '$.attributes.tokens_after')
    ) AS INT64) AS tokens_after
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name IN (
    'gemini_cli.flash_fallback',
    'gemini_cli.chat.content_retry',
    'gemini_cli.chat.content_retry_failure',
    'gemini_cli.network_retry_attempt',
    'gemini_cli.chat_compression'
  )
)
SELECT
  day,
  model,
  COUNTIF(event_name = 'gemini_cli.flash_fallback') AS flash_fallback_count,
  COUNTIF(event_name = 'gemini_cli.chat.content_retry') AS content_retry_count,
  COUNTIF(event_name = 'gemini_cli.chat.content_retry_failure') AS content_retry_failure_count,
  COUNTIF(event_name = 'gemini_cli.network_retry_attempt') AS network_retry_count,
  AVG(IF(event_name = 'gemini_cli.chat_compression', tokens_before, NULL)) AS avg_tokens_before_compression,
  AVG(IF(event_name = 'gemini_cli.chat_compression', tokens_after, NULL)) AS avg_tokens_after_compression,
  AVG(IF(event_name = 'gemini_cli.chat_compression', SAFE_DIVIDE(tokens_after, tokens_before), NULL))
    AS avg_compression_ratio
FROM events
GROUP BY day, model
