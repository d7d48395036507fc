//! Realistic telemetry, made up from the recorded one.
