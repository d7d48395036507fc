//! What an expression is made of.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, Visitor};

use crate::functions::is_aggregate;

/// What an expression is made of, subqueries not looked into.
#[derive(Debug, Default)]
pub(super) struct Contents {
    aggregates: bool,
    windows: bool,
    columns: bool,
    subquery_depth: usize,
}

impl Contents {
    pub(super) fn of(expr: &Expr) -> Self {
        let mut contents = Self::default();
        let _ = Visit::visit(expr, &mut contents);
        contents
    }

    /// Whether it names a column.
    pub(super) fn names_columns(&self) -> bool {
        self.columns
    }

    /// Whether GROUP BY ALL groups by it.
    pub(super) fn groupable(&self) -> bool {
        self.columns && !self.aggregates && !self.windows
    }
}

impl Visitor for Contents {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subquery_depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subquery_depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.subquery_depth > 0 {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.columns = true,
            Expr::Function(function) if function.over.is_some() => self.windows = true,
            Expr::Function(function) => self.aggregates |= is_aggregate(&function.name.to_string()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
