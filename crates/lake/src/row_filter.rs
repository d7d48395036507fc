//! Which conditions of a query the Parquet reader applies row by row, before it decodes the other columns: a
//! query for a few rows then does not decode the JSON text of all of them.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator};

/// The conditions that cost little for each row and cannot fail, all together; `None` when there is none.
///
/// The plan above applies every condition again (pushdown is inexact), so one left out here costs time only,
/// and one that is costly (a function over JSON text) would cost twice.
pub(crate) fn row_filter(conditions: &[Expr]) -> Option<Expr> {
    conjunction(conditions.iter().filter(|condition| is_cheap(condition)).cloned())
}

/// Whether a condition is made of columns, constants and comparisons only.
fn is_cheap(condition: &Expr) -> bool {
    let costly = condition.exists(|part| {
        Ok(match part {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::Between(_)
            | Expr::InList(InList { .. }) => false,
            Expr::BinaryExpr(binary) => !compares(binary.op),
            _ => true,
        })
    });
    !costly.unwrap_or(true)
}

fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

#[cfg(test)]
mod tests {
    use datafusion::functions::expr_fn::lower;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn comparisons_go_down_and_what_may_fail_or_costs_much_stays() {
        let cheap = col("a").eq(lit("x")).or(col("b").in_list(vec![lit(1), lit(2)], false));
        let costly = lower(col("a")).eq(lit("x"));
        let may_fail = (lit(1) / col("b")).gt(lit(0));
        assert_eq!(row_filter(&[costly.clone(), cheap.clone(), may_fail]), Some(cheap.clone()));
        assert_eq!(row_filter(&[cheap.or(costly)]), None);
        assert_eq!(row_filter(&[]), None);
    }
}
