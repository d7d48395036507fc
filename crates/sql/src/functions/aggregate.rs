//! Aggregate and window functions
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/aggregate_functions>): DataFusion's
//! where they mean the same, our own where they do not.

use std::sync::Arc;

use datafusion::functions_aggregate as aggregates;
use datafusion::functions_window as windows;
use datafusion::logical_expr::{AggregateUDF, WindowUDF};

use super::percentile::Percentile;
use super::quantiles::ApproxQuantiles;
use super::sum::CheckedSum;
use super::top::ApproxTopCount;

/// The first value in an order: what MAX_BY and MIN_BY are here.
pub(crate) const FIRST_BY: &str = "#first_by";

pub(super) const AGGREGATES: [&str; 27] = [
    FIRST_BY,
    "any_value",
    "approx_count_distinct",
    "approx_quantiles",
    "approx_top_count",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "grouping",
    "logical_and",
    "logical_or",
    "max",
    "min",
    "percentile_cont",
    "percentile_disc",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var_pop",
    "variance",
];

pub(super) const WINDOWS: [&str; 11] = [
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

pub(super) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    Some(match name {
        "any_value" => aggregates::any_value::any_value_udaf(),
        "approx_count_distinct" => aggregates::approx_distinct::approx_distinct_udaf(),
        "approx_quantiles" => Arc::new(AggregateUDF::new_from_impl(ApproxQuantiles::new())),
        FIRST_BY => aggregates::first_last::first_value_udaf(),
        "approx_top_count" => Arc::new(AggregateUDF::new_from_impl(ApproxTopCount::new())),
        "array_agg" => aggregates::array_agg::array_agg_udaf(),
        "avg" => aggregates::average::avg_udaf(),
        "bit_and" => aggregates::bit_and_or_xor::bit_and_udaf(),
        "bit_or" => aggregates::bit_and_or_xor::bit_or_udaf(),
        "bit_xor" => aggregates::bit_and_or_xor::bit_xor_udaf(),
        "corr" => aggregates::correlation::corr_udaf(),
        "count" => aggregates::count::count_udaf(),
        "covar_pop" => aggregates::covariance::covar_pop_udaf(),
        "covar_samp" => aggregates::covariance::covar_samp_udaf(),
        "grouping" => aggregates::grouping::grouping_udaf(),
        "logical_and" => aggregates::bool_and_or::bool_and_udaf(),
        "logical_or" => aggregates::bool_and_or::bool_or_udaf(),
        "max" => aggregates::min_max::max_udaf(),
        "min" => aggregates::min_max::min_udaf(),
        "percentile_cont" => Arc::new(AggregateUDF::new_from_impl(Percentile::continuous())),
        "percentile_disc" => Arc::new(AggregateUDF::new_from_impl(Percentile::discrete())),
        "stddev" => aggregates::stddev::stddev_udaf(),
        "stddev_pop" => aggregates::stddev::stddev_pop_udaf(),
        "string_agg" => aggregates::string_agg::string_agg_udaf(),
        "sum" => Arc::new(AggregateUDF::new_from_impl(CheckedSum::new())),
        "var_pop" => aggregates::variance::var_pop_udaf(),
        "variance" => aggregates::variance::var_samp_udaf(),
        _ => return None,
    })
}

pub(super) fn window(name: &str) -> Option<Arc<WindowUDF>> {
    Some(match name {
        "cume_dist" => windows::cume_dist::cume_dist_udwf(),
        "dense_rank" => windows::rank::dense_rank_udwf(),
        "first_value" => windows::nth_value::first_value_udwf(),
        "lag" => windows::lead_lag::lag_udwf(),
        "last_value" => windows::nth_value::last_value_udwf(),
        "lead" => windows::lead_lag::lead_udwf(),
        "nth_value" => windows::nth_value::nth_value_udwf(),
        "ntile" => windows::ntile::ntile_udwf(),
        "percent_rank" => windows::rank::percent_rank_udwf(),
        "rank" => windows::rank::rank_udwf(),
        "row_number" => windows::row_number::row_number_udwf(),
        _ => return None,
    })
}
