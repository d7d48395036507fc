* EXCEPT (user_email, installation_id)
  REPLACE (
    REGEXP_REPLACE(resource_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS resource_json,
    REGEXP_REPLACE(labels_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS labels_json,
    REGEXP_REPLACE(operation_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS operation_json,
    REGEXP_REPLACE(httpRequest_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS httpRequest_json,
    REGEXP_REPLACE(jsonPayload_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS jsonPayload_json,
    SAFE.PARSE_JSON(REGEXP_REPLACE(resource_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/'), wide_number_mode => 'round') AS resource,
    SAFE.PARSE_JSON(REGEXP_REPLACE(labels_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/'), wide_number_mode => 'round') AS labels,
    SAFE.PARSE_JSON(REGEXP_REPLACE(operation_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/'), wide_number_mode => 'round') AS operation,
    SAFE.PARSE_JSON(REGEXP_REPLACE(httpRequest_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/'), wide_number_mode => 'round') AS httpRequest,
    SAFE.PARSE_JSON(REGEXP_REPLACE(jsonPayload_json, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/'), wide_number_mode => 'round') AS payload,
    REGEXP_REPLACE(function_args, r'((?:\\u[0-9A-Fa-f]{4}|\\[^u])*)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', r'\1/redacted/') AS function_args,
    REGEXP_REPLACE(error, r'[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', '/redacted/') AS error,
    REGEXP_REPLACE(error_message, r'[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}.\-]+\.\p{L}{2,}', '/redacted/') AS error_message
  ),
  TO_HEX(SHA256(CONCAT(FROM_HEX('${pseudonym_outer_pad}'), SHA256(CONCAT(FROM_HEX('${pseudonym_inner_pad}'), CAST(COALESCE(user_email, 'unknown') AS BYTES)))))) AS user_pseudonym,
  TO_HEX(SHA256(CONCAT(FROM_HEX('${pseudonym_outer_pad}'), SHA256(CONCAT(FROM_HEX('${pseudonym_inner_pad}'), CAST(COALESCE(installation_id, 'unknown') AS BYTES)))))) AS installation_id_hash
