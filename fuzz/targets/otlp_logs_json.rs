//! An OTLP logs request as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_ingest::fuzzing::logs_json(data));
