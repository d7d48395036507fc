//! millrace-log.
