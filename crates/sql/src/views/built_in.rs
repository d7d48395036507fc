//! The views that are part of the program: the files of `sql/`, embedded when it is built.

/// The built-in views, each after those it stands on.
pub(super) const BUILT_IN: &[(&str, &str)] = &[
    ("gemini_analytics_view", include_str!("../../../../sql/gemini_analytics_view.sql")),
    ("daily_metrics", include_str!("../../../../sql/daily_metrics.sql")),
    ("vw_token_usage", include_str!("../../../../sql/vw_token_usage.sql")),
    ("vw_tool_performance", include_str!("../../../../sql/vw_tool_performance.sql")),
];

/// What `gemini_analytics_view` selects of its rows when people are named by pseudonyms.
pub(super) const PSEUDONYM_COLUMNS: &str = include_str!("../../../../sql/pseudonyms/sha256.sql");
