//! The types of parameters: what a client tells of them put into the statement, and lists that something is
//! looked for in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, Value, Visit,
    VisitMut, Visitor, VisitorMut,
};
use pgwire::api::Type;

use crate::fitting::{cast, data_type, name_of, parsed};

/// The parameters whose values are lists that something is looked for in.
pub(crate) fn lists(statement: &Statement) -> BTreeSet<usize> {
    struct Lists(BTreeSet<usize>);
    impl Visitor for Lists {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0.extend(looked_in(expr).map(|(index, _)| index));
            ControlFlow::Continue(())
        }
    }
    let mut lists = Lists(BTreeSet::new());
    let _ = statement.visit(&mut lists);
    lists.0
}

/// Makes single values of such parameters, so that the planner tells what the lists are of.
pub(crate) fn as_items(statement: &mut Statement) {
    struct Items;
    impl VisitorMut for Items {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let item = looked_in(expr).map(|(index, sought)| (index, sought.clone()));
            if let Some((index, sought)) = item
                && let Some(parameter) = parsed(&format!("${}", index + 1))
            {
                *expr = Expr::BinaryOp {
                    left: Box::new(sought),
                    op: BinaryOperator::Eq,
                    right: Box::new(parameter),
                };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(statement, &mut Items);
}

/// The parameter whose value is a list, and what is looked for in it.
fn looked_in(expr: &Expr) -> Option<(usize, &Expr)> {
    let Expr::Function(call) = expr else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(list))),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(sought)),
        ] if name_of(&call.name) == "array_contains" => Some((number(&list.value)?, sought)),
        _ => None,
    }
}

/// Says of parameters what types they are of.
pub(crate) fn cast_parameters(statement: &mut Statement, types: &BTreeMap<usize, DataType>) {
    struct Casts<'a>(&'a BTreeMap<usize, DataType>);
    impl VisitorMut for Casts<'_> {
        type Break = ();
        // After its parts, so that the parameter inside of the cast is not cast again.
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Value(value) = expr
                && let Some(sql_type) = number(&value.value).and_then(|index| self.0.get(&index))
            {
                *expr = cast(expr.clone(), sql_type.clone());
            }
            ControlFlow::Continue(())
        }
    }
    if !types.is_empty() {
        let _ = VisitMut::visit(statement, &mut Casts(types));
    }
}

/// A type of the wire as SQL writes it.
pub(crate) fn sql_type(wire_type: &Type) -> Option<DataType> {
    // A list of them is named like the type, behind an underscore.
    match wire_type.name().strip_prefix('_') {
        Some(item) => data_type(&format!("{item}[]")),
        None => data_type(wire_type.name()),
    }
}

/// The place of `$3`, counted from 0.
fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fitting::tests::{rewritten, statement};

    #[test]
    fn parameters_are_given_types() {
        let types =
            BTreeMap::from([(0, sql_type(&Type::INT8).unwrap()), (1, sql_type(&Type::TEXT_ARRAY).unwrap())]);
        let text = rewritten("SELECT $1 + $3, array_contains($2, a) FROM t LIMIT $1", |statement| {
            cast_parameters(statement, &types);
        });
        assert_eq!(
            text,
            "SELECT CAST($1 AS INT8) + $3, array_contains(CAST($2 AS TEXT[]), a) FROM t LIMIT CAST($1 AS INT8)"
        );
        let sql = "SELECT a FROM t WHERE array_contains($2, a) AND NOT array_contains(ARRAY[1], b)";
        assert_eq!(lists(&statement(sql)), BTreeSet::from([1]));
        assert_eq!(
            rewritten(sql, as_items),
            "SELECT a FROM t WHERE a = $2 AND NOT array_contains(ARRAY[1], b)"
        );
        assert_eq!(sql_type(&Type::TIMESTAMPTZ).unwrap().to_string(), "TIMESTAMPTZ");
    }
}
