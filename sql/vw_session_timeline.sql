-- What happened in a session, one row per event in its order, with the seconds since the session's first event and
-- since the one before. The gen_ai.* records, which repeat the events beside them, are left out.
--
-- Ask for one session (WHERE session_id = ...): then only that session is read and put in order.
--
-- Stands on: gemini_analytics_view. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_session_timeline` AS
SELECT
  session_id,
  ${user},
  ROW_NUMBER() OVER in_order AS sequence_number,
  timestamp,
  TIMESTAMP_DIFF(timestamp, MIN(timestamp) OVER (PARTITION BY session_id), MICROSECOND) / 1000000
    AS seconds_since_session_start,
  TIMESTAMP_DIFF(timestamp, LAG(timestamp) OVER in_order, MICROSECOND) / 1000000 AS seconds_since_previous_event,
  event_name,
  model,
  function_name,
  CASE
    WHEN event_name = 'gemini_cli.api_response' THEN 'success'
    WHEN event_name = 'gemini_cli.api_error' THEN 'error'
    WHEN decision = 'reject' THEN 'rejected'
    WHEN function_success THEN 'success'
    WHEN NOT function_success OR error IS NOT NULL OR error_message IS NOT NULL THEN 'error'
  END AS outcome,
  duration_ms
FROM `${project}.${dataset}.gemini_analytics_view`
WHERE session_id IS NOT NULL
  AND event_name != 'gen_ai.client.inference.operation.details'
WINDOW in_order AS (PARTITION BY session_id ORDER BY timestamp, event_timestamp, insertId)
