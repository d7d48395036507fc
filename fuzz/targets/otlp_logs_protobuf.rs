//! An OTLP logs request as protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_ingest::fuzzing::logs_protobuf(data));
