//! A sink's filter.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_ingest::fuzzing::filter(data));
