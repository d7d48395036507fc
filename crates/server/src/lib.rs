//! millrace-server.
