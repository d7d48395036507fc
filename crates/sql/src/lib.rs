//! millrace-sql.
