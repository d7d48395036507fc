//! Pseudonyms under a key: the right ones, no clear e-mail beside them, and the key nowhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::collections::BTreeSet;

use common::recorded::{Entry, entries, table};
use common::{MemoryCatalog, engine, lines};
use millrace_sql::{Engine, EngineConfig, PseudonymKey, Pseudonyms};
use serde_json::json;

const KEY: &[u8; 40] = b"0123456789abcdefghijABCDEFGHIJ0123456789";

/// What Python's hmac module gives: `hmac.new(KEY, text, "sha256").hexdigest()`.
const OF_DEV: &str = "a84675538d9840397bc4eef692041f417778590487bc4895a8e8f9135a0b7148";
const OF_UNKNOWN: &str = "9af60c661762dc3a53bdafb875f2683b7ae587169df2197d0755ff695806eb96";

fn over(entries: &[Entry], key: &[u8]) -> Engine {
    let pseudonyms = Pseudonyms::Hmac(PseudonymKey::new(key).unwrap());
    let config = EngineConfig { pseudonyms, ..EngineConfig::default() };
    engine(config, MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(entries)))
}

fn with_mails() -> Vec<Entry> {
    let mut entries = entries();
    let payload = json!({"event.name": "x", "prompt": "mail\njane.doe@example.com\\dev@example.org é.x@example.com",
        "error": "to a@b.example.com", "error.message": "from a@b.example.com", "function_args": {"to": "c@d.example.com"}});
    let labels = json!({"user_email": "label@example.com"});
    entries.push(Entry { insert_id: "hidden in text".to_owned(), labels, payload, ..Entry::default() });
    entries.push(Entry { insert_id: "nobody".to_owned(), ..Entry::default() });
    entries
}

#[tokio::test]
async fn people_are_named_by_keyed_hashes_and_no_mail_is_left() {
    let entries = with_mails();
    let engine = over(&entries, KEY);
    let found = lines(&engine, "SELECT * FROM gemini_analytics_view").await.unwrap();
    assert_eq!(found.len(), entries.len() + 1);
    assert!(found[0].contains("user_pseudonym STRING | installation_id_hash STRING"), "{}", found[0]);
    assert!(!found[0].contains("user_email") && !found[0].contains("installation_id STRING"), "{}", found[0]);
    for line in &found {
        assert!(
            !line.contains("@example.") && !line.contains("@b.example") && !line.contains("@d.ex"),
            "{line}"
        );
    }
    let count = |pseudonym: &str| {
        let sql =
            format!("SELECT COUNT(*) AS n FROM gemini_analytics_view WHERE user_pseudonym = '{pseudonym}'");
        let engine = engine.clone();
        async move { lines(&engine, &sql).await.unwrap()[1].parse::<usize>().unwrap() }
    };
    let dev = entries.iter().filter(|entry| entry.text("user.email") == Some("dev@example.com")).count();
    assert!(dev > 100, "{dev}");
    assert_eq!(count(OF_DEV).await, dev);
    assert!(count(OF_UNKNOWN).await >= 1);
    // Another key names everybody otherwise.
    let all = |engine: Engine| async move {
        let names =
            lines(&engine, "SELECT DISTINCT user_pseudonym FROM gemini_analytics_view").await.unwrap();
        names.into_iter().skip(1).collect::<BTreeSet<_>>()
    };
    let other = over(&entries, &[b'x'; 32]);
    assert!(all(engine).await.is_disjoint(&all(other).await));
}

/// BigQuery runs the template with the pads as literals: so does this engine, with the same answer.
#[tokio::test]
async fn the_template_with_its_pads_gives_the_same() {
    let pad = |with: u8| {
        let padded = (0..64).map(|index| KEY.get(index).copied().unwrap_or(0) ^ with);
        padded.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let template = include_str!("../../../sql/pseudonyms/hmac.sql");
    let expression = template.lines().find(|line| line.ends_with("AS user_pseudonym,")).unwrap();
    let expression = expression.trim().trim_end_matches(" AS user_pseudonym,");
    let filled = expression
        .replace("${pseudonym_inner_pad}", &pad(0x36))
        .replace("${pseudonym_outer_pad}", &pad(0x5c));
    let engine = over(&[], KEY);
    let sql = format!(
        "SELECT {filled} AS p FROM UNNEST(['dev@example.com', CAST(NULL AS STRING)]) AS user_email ORDER BY user_email DESC"
    );
    assert_eq!(lines(&engine, &sql).await.unwrap(), ["p STRING", OF_DEV, OF_UNKNOWN]);
}

#[tokio::test]
async fn the_key_is_shown_nowhere() {
    let temp = tempfile::tempdir().unwrap();
    let pseudonyms = Pseudonyms::Hmac(PseudonymKey::new(KEY).unwrap());
    let config =
        EngineConfig { pseudonyms, user_views_dir: Some(temp.path().to_owned()), ..EngineConfig::default() };
    let debug = format!("{config:?}");
    let engine =
        engine(config, MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(&with_mails())));
    let pads: Vec<String> = [0, 0x36, 0x5c]
        .iter()
        .flat_map(|with| {
            let bytes: Vec<u8> = KEY.iter().map(|byte| byte ^ with).collect();
            let hex: String = bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            let list = bytes.iter().take(4).map(u8::to_string).collect::<Vec<_>>().join(", ");
            let text = String::from_utf8_lossy(&bytes[..8]).into_owned();
            [hex.to_uppercase(), hex, list.replace(' ', ""), list, text]
        })
        .collect();
    let show = |text: String| {
        for pad in &pads {
            assert!(!text.contains(pad), "{pad:?} in {text}");
        }
    };
    show(debug);
    show(format!("{engine:?}"));
    let views = engine.views();
    let analytics = &views[0];
    assert!(analytics.sql.contains("FROM_HEX('${pseudonym_outer_pad}')"), "{}", analytics.sql);
    views.iter().for_each(|view| show(view.sql.clone()));
    for sql in [
        "EXPLAIN SELECT * FROM gemini_analytics_view",
        "EXPLAIN SELECT user_pseudonym, COUNT(*) FROM gemini_analytics_view WHERE user_pseudonym > 'a' GROUP BY 1",
        "EXPLAIN SELECT * FROM vw_token_usage",
    ] {
        let plan = lines(&engine, sql).await.unwrap().join("\n");
        assert!(plan.contains("#hmac_sha256"), "{plan}");
        show(plan);
    }
    // Nobody but a built-in view may call the function, or have the pads filled in.
    for (sql, refused) in [
        ("SELECT TO_HEX(`#hmac_sha256`(b'dev@example.com')) AS x", true),
        ("SELECT '${pseudonym_inner_pad}' AS x", false),
        (
            "SELECT TO_HEX(SHA256(CONCAT(FROM_HEX('${pseudonym_outer_pad}'), SHA256(CONCAT(FROM_HEX('${pseudonym_inner_pad}'), b'a'))))) AS x",
            true,
        ),
    ] {
        let made = engine.create_view("mine", sql, true).await;
        let view = lines(&engine, "SELECT * FROM mine").await;
        for outcome in
            [lines(&engine, sql).await.map(|lines| lines.join("\n")), view.map(|lines| lines.join("\n"))]
        {
            match outcome {
                Ok(text) => {
                    assert!(!refused, "{sql}: {text}");
                    show(text);
                }
                Err(error) => {
                    assert!(refused, "{sql}: {error:?}");
                    show(format!("{error:?}"));
                }
            }
        }
        if let Err(error) = made {
            show(format!("{error:?}"));
        }
    }
    for sql in
        ["SELECT user_pseudonym + 1 FROM gemini_analytics_view", "SELECT nope FROM gemini_analytics_view"]
    {
        show(format!("{:?}", lines(&engine, sql).await.unwrap_err()));
    }
}
