//! An ack id, and one that is made of the input.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_pubsub::fuzzing::ack_id(data));
