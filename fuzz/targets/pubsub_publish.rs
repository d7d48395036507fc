//! A Publish request as protobuf and as the body of a REST call.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_pubsub::fuzzing::publish(data));
