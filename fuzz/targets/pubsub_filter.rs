//! A subscription's filter.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_pubsub::fuzzing::filter(data));
