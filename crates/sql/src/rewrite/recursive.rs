//! WITH RECURSIVE: a query that begins with rows of its own and goes on with what it makes of the last ones.

use datafusion::sql::sqlparser::ast::{Cte, Query, SetExpr, SetOperator, SetQuantifier};

use super::{Rewriter, Rows, renamed, same_count};
use crate::error::SqlError;

impl Rewriter<'_> {
    /// Rewrites a query of WITH RECURSIVE that may name itself; `false` when it is no UNION and cannot.
    pub(super) fn recursive(&mut self, cte: &mut Cte) -> Result<bool, SqlError> {
        let query: &mut Query = &mut cte.query;
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, .. } = query.body.as_mut()
        else {
            return Ok(false);
        };
        if query.order_by.is_some() || query.limit_clause.is_some() || query.with.is_some() {
            return Err(SqlError::unsupported(
                "WITH, ORDER BY and LIMIT in a query of WITH RECURSIVE are not supported",
            )
            .hint("order and limit the query that reads it"));
        }
        if !matches!(set_quantifier, SetQuantifier::All | SetQuantifier::Distinct) {
            return Err(
                SqlError::invalid("UNION without ALL or DISTINCT").hint("write UNION ALL or UNION DISTINCT")
            );
        }
        let before = self.scopes.len();
        let mut columns = self.body(left, Rows::Columns)?;
        self.scopes.truncate(before);
        let count = std::rc::Rc::clone(&columns);
        if !cte.alias.columns.is_empty() {
            columns = renamed(&columns, &mut cte.alias.columns)?;
        }
        self.define(cte, columns)?;
        if let SetExpr::SetOperation { right, op, .. } = cte.query.body.as_mut() {
            let others = self.body(right, Rows::Columns)?;
            self.scopes.truncate(before);
            same_count(*op, &count, &others)?;
        }
        Ok(true)
    }
}
