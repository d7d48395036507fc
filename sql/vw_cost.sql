-- What the tokens cost, per day, user and model, by the table model_prices: the row of the model's exact name, of the
-- latest valid_from up to the day, and of the highest input_tokens_from up to the request's input tokens.
--
-- Cached tokens are part of the input tokens and have a price of their own; tokens that tools put into the prompt cost
-- as input. The cost is NULL when a request of the group has no price: a sum that leaves some out looks like the whole.
--
-- Stands on: gemini_analytics_view, model_prices. Placeholders: see README.md.
CREATE OR REPLACE VIEW `${project}.${dataset}.vw_cost` AS
WITH periods AS (
  SELECT
    model,
    valid_from,
    LEAD(valid_from) OVER (PARTITION BY model ORDER BY valid_from) AS next_valid_from
  FROM `${project}.${dataset}.model_prices`
  GROUP BY model, valid_from
),
prices AS (
  SELECT
    price.model,
    price.valid_from,
    IFNULL(next_valid_from, DATE '9999-12-31') AS valid_until,
    input_tokens_from,
    IFNULL(
      LEAD(input_tokens_from) OVER (PARTITION BY price.model, price.valid_from ORDER BY input_tokens_from),
      9223372036854775807
    ) AS input_tokens_until,
    input,
    cached,
    output,
    thought
  FROM `${project}.${dataset}.model_prices` AS price
  JOIN periods ON price.model = periods.model AND price.valid_from = periods.valid_from
),
requests AS (
  SELECT
    DATE(timestamp) AS day,
    ${user},
    model,
    IFNULL(input_tokens, 0) AS input_tokens,
    IFNULL(cached_tokens, 0) AS cached_tokens,
    IFNULL(output_tokens, 0) AS output_tokens,
    IFNULL(thoughts_tokens, 0) AS thoughts_tokens,
    IFNULL(tool_tokens, 0) AS tool_tokens
  FROM `${project}.${dataset}.gemini_analytics_view`
  WHERE event_name = 'gemini_cli.api_response'
)
SELECT
  day,
  ${user},
  requests.model,
  SUM(input_tokens) AS total_input_tokens,
  SUM(cached_tokens) AS total_cached_tokens,
  SUM(output_tokens) AS total_output_tokens,
  SUM(thoughts_tokens) AS total_thoughts_tokens,
  SUM(tool_tokens) AS total_tool_tokens,
  IF(
    COUNTIF(prices.model IS NULL) > 0,
    NULL,
    SUM(
      (input_tokens - cached_tokens + tool_tokens) * input
        + cached_tokens * cached
        + output_tokens * output
        + thoughts_tokens * thought
    ) / 1000000
  ) AS cost_usd
FROM requests
LEFT JOIN prices
  ON requests.model = prices.model
  AND day >= valid_from
  AND day < valid_until
  AND input_tokens >= input_tokens_from
  AND input_tokens < input_tokens_until
GROUP BY day, ${user}, requests.model
