//! The views that are part of the program: the files of `sql/`, embedded when it is built.

/// The text of a file of `sql/`, by its name.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../../../sql/", $name, ".sql"))
    };
}

/// The built-in views: those of the specification in its order, then those beyond it. Each stands behind
/// those that it stands on.
pub(crate) const BUILT_IN: &[(&str, &str)] = &[
    ("gemini_analytics_view", sql!("gemini_analytics_view")),
    ("daily_metrics", sql!("daily_metrics")),
    ("vw_user_activity", sql!("vw_user_activity")),
    ("vw_token_usage", sql!("vw_token_usage")),
    ("vw_tool_performance", sql!("vw_tool_performance")),
    ("vw_quota_tracking", sql!("vw_quota_tracking")),
    ("vw_error_analysis", sql!("vw_error_analysis")),
    ("vw_cli_performance_and_resilience", sql!("vw_cli_performance_and_resilience")),
    ("vw_model_routing_analysis", sql!("vw_model_routing_analysis")),
    ("vw_malformed_json_responses", sql!("vw_malformed_json_responses")),
    ("vw_feature_adoption", sql!("vw_feature_adoption")),
    ("vw_user_configuration", sql!("vw_user_configuration")),
    ("vw_conversation_analysis", sql!("vw_conversation_analysis")),
    ("vw_429_error_summary", sql!("vw_429_error_summary")),
    ("vw_cost", sql!("vw_cost")),
    ("vw_session_timeline", sql!("vw_session_timeline")),
    ("vw_latency_percentiles", sql!("vw_latency_percentiles")),
    ("vw_code_changes", sql!("vw_code_changes")),
    ("vw_team_rollup", sql!("vw_team_rollup")),
];

/// What `gemini_analytics_view` selects of its rows when people are named by pseudonyms.
pub(super) const PSEUDONYM_COLUMNS: &str = include_str!("../../../../sql/pseudonyms/sha256.sql");
