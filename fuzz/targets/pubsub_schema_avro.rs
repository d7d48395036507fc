//! An Avro schema, and data for it behind a zero byte.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_pubsub::fuzzing::avro(data));
