//! An OTLP metrics or traces request, as protobuf and as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_ingest::fuzzing::signals(data));
