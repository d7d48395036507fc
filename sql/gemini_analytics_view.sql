-- One row per log record: what the CLI wrote, its JSON parts parsed, and the fields that analyses ask for
-- as typed columns.
--
-- A payload is flat with dotted keys ("event.name"). Where a sink has turned dots into underscores, or a
-- collector has put the fields under "attributes", those spellings count too, the flat dotted one first.
-- A value of the wrong type is NULL.
--
-- Stands on: gemini_raw_logs. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.gemini_analytics_view` AS
WITH fields AS (
  SELECT
    timestamp,
    receiveTimestamp,
    logName,
    insertId,
    severity,
    trace,
    spanId,
    resource_json,
    labels_json,
    operation_json,
    httpRequest_json,
    jsonPayload_json,
    -- parsed; numbers too wide for FLOAT64 are rounded, text that is not JSON is NULL
    SAFE.PARSE_JSON(resource_json, wide_number_mode => 'round') AS resource,
    SAFE.PARSE_JSON(labels_json, wide_number_mode => 'round') AS labels,
    SAFE.PARSE_JSON(operation_json, wide_number_mode => 'round') AS operation,
    SAFE.PARSE_JSON(httpRequest_json, wide_number_mode => 'round') AS httpRequest,
    SAFE.PARSE_JSON(jsonPayload_json, wide_number_mode => 'round') AS payload,
    -- event
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."event.name"'),
      JSON_VALUE(jsonPayload_json, '$.event_name'),
      JSON_VALUE(jsonPayload_json, '$.attributes."event.name"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.event_name')
    ) AS event_name,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."event.domain"'),
      JSON_VALUE(jsonPayload_json, '$.event_domain'),
      JSON_VALUE(jsonPayload_json, '$.attributes."event.domain"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.event_domain')
    ) AS event_domain,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."event.timestamp"'),
      JSON_VALUE(jsonPayload_json, '$.event_timestamp'),
      JSON_VALUE(jsonPayload_json, '$.attributes."event.timestamp"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.event_timestamp')
    ) AS TIMESTAMP) AS event_timestamp,
    -- who
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."session.id"'),
      JSON_VALUE(jsonPayload_json, '$.session_id'),
      JSON_VALUE(jsonPayload_json, '$.attributes."session.id"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.session_id')
    ) AS session_id,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."installation.id"'),
      JSON_VALUE(jsonPayload_json, '$.installation_id'),
      JSON_VALUE(jsonPayload_json, '$.attributes."installation.id"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.installation_id'),
      JSON_VALUE(labels_json, '$.installation_id'),
      JSON_VALUE(labels_json, '$."installation.id"')
    ) AS installation_id,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."user.email"'),
      JSON_VALUE(jsonPayload_json, '$.user_email'),
      JSON_VALUE(jsonPayload_json, '$.attributes."user.email"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.user_email'),
      JSON_VALUE(labels_json, '$.user_email'),
      JSON_VALUE(labels_json, '$."user.email"')
    ) AS user_email,
    JSON_VALUE(labels_json, '$.cli_version') AS cli_version,
    JSON_VALUE(resource_json, '$.labels.project_id') AS resource_project_id,
    -- request
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.model'),
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.model"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_model'),
      JSON_VALUE(jsonPayload_json, '$.attributes.model'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.model"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_model')
    ) AS model,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.model_name'),
      JSON_VALUE(jsonPayload_json, '$.attributes.model_name')
    ) AS model_name,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.auth_type'),
      JSON_VALUE(jsonPayload_json, '$.attributes.auth_type')
    ) AS auth_type,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.prompt_id'),
      JSON_VALUE(jsonPayload_json, '$.attributes.prompt_id')
    ) AS prompt_id,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.role'),
      JSON_VALUE(jsonPayload_json, '$.attributes.role')
    ) AS role,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.model"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_model'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.model"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_model')
    ) AS gen_ai_request_model,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.temperature"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_temperature'),
      JSON_VALUE(jsonPayload_json, '$.temperature'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.temperature"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_temperature'),
      JSON_VALUE(jsonPayload_json, '$.attributes.temperature')
    ) AS FLOAT64) AS temperature,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.top_p"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_top_p'),
      JSON_VALUE(jsonPayload_json, '$.top_p'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.top_p"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_top_p'),
      JSON_VALUE(jsonPayload_json, '$.attributes.top_p')
    ) AS FLOAT64) AS top_p,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.top_k"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_top_k'),
      JSON_VALUE(jsonPayload_json, '$.top_k'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.top_k"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_top_k'),
      JSON_VALUE(jsonPayload_json, '$.attributes.top_k')
    ) AS FLOAT64) AS top_k,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.request.max_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_request_max_tokens'),
      JSON_VALUE(jsonPayload_json, '$.max_output_tokens'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.request.max_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_request_max_tokens'),
      JSON_VALUE(jsonPayload_json, '$.attributes.max_output_tokens')
    ) AS INT64) AS max_output_tokens,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.finish_reason'),
      JSON_VALUE(jsonPayload_json, '$.finish_reasons[0]'),
      JSON_VALUE(jsonPayload_json, '$."gen_ai.response.finish_reasons"[0]'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_response_finish_reasons[0]'),
      JSON_VALUE(jsonPayload_json, '$.attributes.finish_reason'),
      JSON_VALUE(jsonPayload_json, '$.attributes.finish_reasons[0]'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.response.finish_reasons"[0]'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_response_finish_reasons[0]')
    ) AS finish_reason,
    -- tokens
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.input_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.input_token_count')
    ) AS INT64) AS input_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.output_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.output_token_count')
    ) AS INT64) AS output_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.cached_content_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.cached_content_token_count')
    ) AS INT64) AS cached_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.thoughts_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.thoughts_token_count')
    ) AS INT64) AS thoughts_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.tool_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.tool_token_count')
    ) AS INT64) AS tool_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.total_token_count'),
      JSON_VALUE(jsonPayload_json, '$.attributes.total_token_count')
    ) AS INT64) AS total_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.usage.input_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_usage_input_tokens'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.usage.input_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_usage_input_tokens')
    ) AS INT64) AS gen_ai_input_tokens,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$."gen_ai.usage.output_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.gen_ai_usage_output_tokens'),
      JSON_VALUE(jsonPayload_json, '$.attributes."gen_ai.usage.output_tokens"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.gen_ai_usage_output_tokens')
    ) AS INT64) AS gen_ai_output_tokens,
    -- tools
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.function_name'),
      JSON_VALUE(jsonPayload_json, '$.attributes.function_name')
    ) AS function_name,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.function_args'),
      JSON_VALUE(jsonPayload_json, '$.attributes.function_args')
    ) AS function_args,
    CAST(NULL AS FLOAT64) AS function_duration_ms,  -- filled in below, where the event has its name
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.success'),
      JSON_VALUE(jsonPayload_json, '$.attributes.success')
    ) AS BOOL) AS function_success,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.tool_type'),
      JSON_VALUE(jsonPayload_json, '$.attributes.tool_type')
    ) AS tool_type,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.mcp_server_name'),
      JSON_VALUE(jsonPayload_json, '$.attributes.mcp_server_name')
    ) AS mcp_server_name,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.decision'),
      JSON_VALUE(jsonPayload_json, '$.attributes.decision')
    ) AS decision,
    -- outcome
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.duration_ms'),
      JSON_VALUE(jsonPayload_json, '$.duration'),
      JSON_VALUE(jsonPayload_json, '$.attributes.duration_ms'),
      JSON_VALUE(jsonPayload_json, '$.attributes.duration')
    ) AS FLOAT64) AS duration_ms,
    SAFE_CAST(COALESCE(
      JSON_VALUE(jsonPayload_json, '$.status_code'),
      JSON_VALUE(jsonPayload_json, '$."http.status_code"'),
      JSON_VALUE(jsonPayload_json, '$.http_status_code'),
      JSON_VALUE(jsonPayload_json, '$.attributes.status_code'),
      JSON_VALUE(jsonPayload_json, '$.attributes."http.status_code"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.http_status_code')
    ) AS INT64) AS status_code,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$.error'),
      JSON_VALUE(jsonPayload_json, '$.attributes.error')
    ) AS error,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."error.message"'),
      JSON_VALUE(jsonPayload_json, '$.error_message'),
      JSON_VALUE(jsonPayload_json, '$.attributes."error.message"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.error_message')
    ) AS error_message,
    COALESCE(
      JSON_VALUE(jsonPayload_json, '$."error.type"'),
      JSON_VALUE(jsonPayload_json, '$.error_type'),
      JSON_VALUE(jsonPayload_json, '$.attributes."error.type"'),
      JSON_VALUE(jsonPayload_json, '$.attributes.error_type')
    ) AS error_code
  FROM `${project}.${dataset}.gemini_raw_logs`
),
records AS (
  SELECT
    * REPLACE (
      -- no request has a billion tokens; two rows of 2^63 - 1 would make every sum fail
      IF(input_tokens BETWEEN 0 AND 1000000000, input_tokens, NULL) AS input_tokens,
      IF(output_tokens BETWEEN 0 AND 1000000000, output_tokens, NULL) AS output_tokens,
      IF(cached_tokens BETWEEN 0 AND 1000000000, cached_tokens, NULL) AS cached_tokens,
      IF(thoughts_tokens BETWEEN 0 AND 1000000000, thoughts_tokens, NULL) AS thoughts_tokens,
      IF(tool_tokens BETWEEN 0 AND 1000000000, tool_tokens, NULL) AS tool_tokens,
      IF(total_tokens BETWEEN 0 AND 1000000000, total_tokens, NULL) AS total_tokens,
      IF(gen_ai_input_tokens BETWEEN 0 AND 1000000000, gen_ai_input_tokens, NULL) AS gen_ai_input_tokens,
      IF(gen_ai_output_tokens BETWEEN 0 AND 1000000000, gen_ai_output_tokens, NULL) AS gen_ai_output_tokens,
      IF(event_name = 'gemini_cli.tool_call', duration_ms, NULL) AS function_duration_ms
    )
  FROM fields
)
SELECT ${user_columns}
FROM records
