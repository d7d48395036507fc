//! millrace-table.
