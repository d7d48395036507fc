//! A verdict as one line of JSON.

use millrace_udf::Verdict;
use serde_json::json;

/// What `udf run` writes about a message: the returned text as a JSON string, `null` when the message was
/// left out, `{"error": {"stage", "class", "message", "stack"}}` when it would be a dead letter. Without
/// the line feed.
#[must_use]
pub fn output_line(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Row(returned) => match &returned.quoted {
            // With a lone surrogate in it, which no text here can hold.
            Some(quoted) => quoted.clone(),
            None => json!(returned.text).to_string(),
        },
        Verdict::Filtered => "null".to_owned(),
        Verdict::Failed(failure) => json!({
            "error": {
                "stage": failure.stage.as_str(),
                "class": failure.class.as_str(),
                "message": failure.message,
                "stack": failure.stack,
            }
        })
        .to_string(),
    }
}
