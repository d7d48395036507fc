//! millrace-lake.
