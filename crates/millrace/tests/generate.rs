//! `millrace generate` on the real binary: what it writes is what `load` takes and views count.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::io::Read as _;
use std::process::{Command, Stdio};

use common::Millrace;

const FLEET: [&str; 9] = ["generate", "--users", "40", "--days", "9", "--seed", "3", "--end", "2026-11-22"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    FLEET.into_iter().chain(more.iter().copied()).collect()
}

/// Scenario: the same fleet to standard output, to a file and to a gzipped file; then loaded.
/// Guarantees: the same bytes each time; every record a row, none a dead letter; every view has rows.
#[test]
fn a_fleet_is_loaded_and_every_view_sees_it() {
    let millrace = Millrace::new();
    let path = millrace.folder.path().join("fleet.ndjson");
    let packed = millrace.folder.path().join("fleet.ndjson.gz");
    let printed = millrace.ok(&with(&["--records", "30000"]));
    millrace.ok(&with(&["--records", "30000", "--output", path.to_str().unwrap()]));
    millrace.ok(&with(&["--records", "30000", "--output", packed.to_str().unwrap()]));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), printed);
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&packed).unwrap())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, printed);

    millrace.ok(&["load", path.to_str().unwrap()]);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs"), 30_000);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs_error_records"), 0);
    let views = millrace.ok(&["views", "list", "--format", "ndjson"]);
    let views: Vec<serde_json::Value> =
        views.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!views.is_empty());
    for view in views {
        let name = view["name"].as_str().unwrap();
        assert!(millrace.number(&format!("SELECT COUNT(*) FROM telemetry.{name}")) > 0, "{name} is empty");
    }
    millrace.audit();
}

/// Scenario: a reader that has enough after a few lines.
/// Guarantees: the command ends quietly and without error.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(with(&["--records", "1000000"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut start = [0; 1_000];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Scenario: numbers that cannot be, a file that cannot be written, a day that is none.
/// Guarantees: an error that names what is wrong; exit code 1, or 2 for wrong use of the command line.
#[test]
fn what_cannot_be_is_refused() {
    let millrace = Millrace::new();
    let missing = millrace.folder.path().join("no/such/folder/fleet.ndjson");
    for (arguments, code, said) in [
        (vec!["--records", "0", "--users", "1", "--days", "1"], 1, "records is 0"),
        (vec!["--records", "5", "--users", "0", "--days", "1"], 1, "users is 0"),
        (vec!["--records", "5", "--users", "1", "--days", "0"], 1, "days is 0"),
        (vec!["--records", "5", "--users", "6", "--days", "1"], 1, "6 users cannot share 5 records"),
        (vec!["--records", "5", "--users", "1", "--days", "6"], 1, "6 days cannot share 5 records"),
        (vec!["--records", "9999", "--users", "1", "--days", "3651"], 1, "ten years"),
        (vec!["--records", "-5", "--users", "1", "--days", "1"], 2, "-5"),
        (vec!["--records", "many", "--users", "1", "--days", "1"], 2, "many"),
        (vec!["--records", "5", "--users", "1", "--days", "1", "--end", "2026-02-30"], 2, "2026-02-30"),
        (vec!["--records", "5", "--users", "1"], 2, "--days"),
        (
            vec!["--records", "5", "--users", "1", "--days", "1", "--output", missing.to_str().unwrap()],
            1,
            "cannot write",
        ),
    ] {
        let arguments: Vec<&str> = ["generate"].into_iter().chain(arguments).collect();
        let output = millrace.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
