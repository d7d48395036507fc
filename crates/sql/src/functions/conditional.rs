//! Conditional functions that evaluate only what they need: DataFusion's own, whose meaning is
//! GoogleSQL's.

use std::sync::Arc;

use datafusion::functions::core;
use datafusion::logical_expr::ScalarUDF;

pub(super) const NAMES: [&str; 2] = ["coalesce", "nullif"];

pub(super) fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    match name {
        "coalesce" => Some(core::coalesce()),
        "nullif" => Some(core::nullif()),
        _ => None,
    }
}
