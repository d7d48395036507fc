//! millrace-udf.
