//! millrace-ingest.
