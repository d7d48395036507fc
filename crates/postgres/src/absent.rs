//! Questions about the catalogue: what cannot be planned is answered with what is there, which is nothing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, GroupByExpr, Ident, JoinOperator, Query, Select,
    SelectItem, SetExpr, Statement, TableFactor, TableWithJoins, Value, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::fitting::{name_of, only_argument, parsed};

/// The tables of `pg_catalog` about things that there are none of here.
const EMPTY_TABLES: [&str; 25] = [
    "pg_attrdef",
    "pg_auth_members",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_trigger",
    "pg_ts_config",
    "pg_user_mapping",
];

/// Columns that the library's tables leave out, or have as texts and not as lists, with their types. Here
/// nothing has such a value.
const MISSING_COLUMNS: [(&str, &str); 6] = [
    ("colliculocale", "TEXT"),
    ("nspacl", "TEXT[]"),
    ("proacl", "TEXT[]"),
    ("relacl", "TEXT[]"),
    ("reloptions", "TEXT[]"),
    ("tableoid", "INT"),
];

/// Makes a question about the catalogue fit DataFusion: what is asked of nothing is nothing, and lists and single
/// values that would be found for each row are NULL.
pub(crate) fn fit_catalog(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut FitCatalog);
}

struct FitCatalog;

impl VisitorMut for FitCatalog {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if is_empty(&query.body)
            && let Some(nothing) = nothing_like(query)
        {
            *query = nothing;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some((name, _)) = missing_column(expr)
            {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(name) };
            }
        }
        if let Some(condition) = &mut select.selection {
            fit_condition(condition);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let nothing = match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                missing_column(expr).and_then(|(_, sql_type)| nothing_of(expr, sql_type))
            }
            Expr::Function(Function { name, args: FunctionArguments::Subquery(_), .. })
                if name_of(name) == "array" =>
            {
                nothing_of(expr, "TEXT[]")
            }
            // At the top of a column the library has done it.
            Expr::Case { conditions, else_result, .. } => {
                let results = conditions.iter_mut().map(|when| &mut when.result);
                for result in results.chain(else_result.as_deref_mut()) {
                    if matches!(result, Expr::Subquery(query) if is_correlated(query))
                        && let Some(nothing) = nothing_of(result, "TEXT")
                    {
                        *result = nothing;
                    }
                }
                for when in conditions.iter_mut() {
                    forget_correlated(&mut when.condition);
                }
                None
            }
            _ => None,
        };
        if let Some(nothing) = nothing {
            *expr = nothing;
        }
        ControlFlow::Continue(())
    }
}

fn missing_column(expr: &Expr) -> Option<(&'static str, &'static str)> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(path) => path.last()?,
        _ => return None,
    };
    MISSING_COLUMNS.into_iter().find(|(missing, _)| name.value.eq_ignore_ascii_case(missing))
}

/// A condition of a question about the catalogue, with what it asks anew for each row as NULL.
fn fit_condition(condition: &mut Expr) {
    let fitted = match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            fit_condition(left);
            fit_condition(right);
            return;
        }
        Expr::Nested(inner) => return fit_condition(inner),
        Expr::Subquery(query) if is_correlated(query) => nothing_of(condition, "BOOLEAN"),
        Expr::Function(call) => visible(call),
        _ => None,
    };
    if let Some(fitted) = fitted {
        *condition = fitted;
    }
}

/// The library takes every table for visible without its schema; those are that the search path leads to.
fn visible(call: &Function) -> Option<Expr> {
    let Expr::CompoundIdentifier(path) = only_argument(call)? else { return None };
    let (column, table) = path.split_last()?;
    if name_of(&call.name) != "pg_table_is_visible" || !column.value.eq_ignore_ascii_case("oid") {
        return None;
    }
    let table: Vec<_> = table.iter().map(Ident::to_string).collect();
    parsed(&format!(
        "{}.relnamespace IN (SELECT v.oid FROM pg_catalog.pg_namespace AS v \
         WHERE v.nspname IN (current_schema(), 'pg_catalog'))",
        table.join(".")
    ))
}

/// Makes NULL of what a condition asks anew for each row.
fn forget_correlated(condition: &mut Expr) {
    struct Forget;
    impl VisitorMut for Forget {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if matches!(expr, Expr::Subquery(query) if is_correlated(query))
                && let Some(nothing) = nothing_of(expr, "INT")
            {
                *expr = nothing;
            }
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(condition, &mut Forget);
}

/// Whether a query is over nothing, whatever else it is about.
fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => {
            let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
            (grouped || !select.projection.iter().any(is_aggregate)) && select.from.iter().any(gives_nothing)
        }
        SetExpr::Query(query) => is_empty(&query.body),
        SetExpr::SetOperation { left, right, .. } => is_empty(left) && is_empty(right),
        _ => false,
    }
}

/// A column that has a value over no rows too.
fn is_aggregate(item: &SelectItem) -> bool {
    const NAMES: [&str; 9] =
        ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_and", "bool_or"];
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(call) if NAMES.contains(&name_of(&call.name).as_str()) => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    item.visit(&mut Find).is_break()
}

fn gives_nothing(from: &TableWithJoins) -> bool {
    let joined = from.joins.iter().any(|join| {
        let inner = matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        );
        inner && is_empty_table(&join.relation)
    });
    let kept = from.joins.iter().any(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    !kept && (joined || is_empty_table(&from.relation))
}

fn is_empty_table(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { name, args: None, .. } => EMPTY_TABLES.contains(&name_of(name).as_str()),
        TableFactor::Derived { subquery, .. } => is_empty(&subquery.body),
        TableFactor::NestedJoin { table_with_joins, .. } => gives_nothing(table_with_joins),
        _ => false,
    }
}

/// No rows of the same columns, and of the same parameters.
fn nothing_like(query: &Query) -> Option<Query> {
    let select = first_select(&query.body)?;
    let mut columns = Vec::new();
    for (index, item) in select.projection.iter().enumerate() {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(expr) => named(expr).unwrap_or_else(|| "?column?".to_owned()),
            _ => return None,
        };
        // Of one name there may be one column only.
        let taken = columns.iter().any(|(known, _)| *known == name);
        columns.push((if taken { format!("{name}_{}", index + 1) } else { name }, index));
    }
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, _)| format!("CAST(NULL AS TEXT) AS {}", Ident::with_quote('"', name)))
        .collect();
    let parameters: String =
        placeholders(query).iter().map(|placeholder| format!(" AND {placeholder} IS NULL")).collect();
    parse_query(&format!("SELECT {} WHERE false{parameters}", columns.join(", ")))
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name that Postgres gives the column of an expression.
fn named(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(path) => path.last().map(|name| name.value.clone()),
        Expr::Function(call) => Some(name_of(&call.name)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => named(expr),
        Expr::Case { .. } => Some("case".to_owned()),
        _ => None,
    }
}

/// NULL of a type, which still has the parameters that the expression has.
fn nothing_of(expr: &Expr, sql_type: &str) -> Option<Expr> {
    let parameters: Vec<_> =
        placeholders(expr).into_iter().map(|placeholder| format!("{placeholder} IS NULL")).collect();
    parsed(&match parameters.is_empty() {
        true => format!("CAST(NULL AS {sql_type})"),
        false => format!("CAST(CASE WHEN {} THEN NULL END AS {sql_type})", parameters.join(" AND ")),
    })
}

/// Whether a query asks about tables that are not its own.
fn is_correlated(query: &Query) -> bool {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            let (name, alias) = match table {
                TableFactor::Table { name, alias, .. } => (Some(name_of(name)), alias),
                TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => (None, alias),
                _ => return ControlFlow::Continue(()),
            };
            let alias = alias.as_ref().map(|alias| alias.name.value.to_lowercase());
            self.0.extend(alias.or(name));
            ControlFlow::Continue(())
        }
    }
    struct Outer(BTreeSet<String>);
    impl Visitor for Outer {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::CompoundIdentifier(path) if path.len() > 1 => {
                    match self.0.contains(&path[path.len() - 2].value.to_lowercase()) {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = query.visit(&mut names);
    query.visit(&mut Outer(names.0)).is_break()
}

/// The parameters in a part of a statement, each once.
fn placeholders(part: &impl Visit) -> BTreeSet<String> {
    struct Find(BTreeSet<String>);
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr {
                self.0.insert(name.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Find(BTreeSet::new());
    let _ = part.visit(&mut found);
    found.0
}

fn parse_query(query: &str) -> Option<Query> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(query).ok()?.parse_query().ok().map(|query| *query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fitting::tests::rewritten;

    #[test]
    fn questions_about_nothing_have_no_answer() {
        let fitted = |sql: &str| rewritten(sql, fit_catalog);
        assert_eq!(
            fitted(
                "SELECT i.a, max(b) AS m FROM pg_catalog.pg_index i JOIN pg_class c ON c.oid = $1 GROUP BY 1 ORDER BY 1"
            ),
            "SELECT CAST(NULL AS TEXT) AS \"a\", CAST(NULL AS TEXT) AS \"m\" WHERE false AND $1 IS NULL"
        );
        for kept in [
            "SELECT c.relname FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indrelid = c.oid",
            "SELECT count(*) FROM pg_index",
            "SELECT * FROM pg_index",
            "SELECT relname FROM pg_class",
        ] {
            assert_eq!(fitted(kept), kept);
        }
        let derived = "SELECT x.a FROM pg_class c JOIN (SELECT unnest(k) AS a FROM pg_constraint) x ON true";
        assert!(fitted(derived).ends_with("WHERE false"), "{}", fitted(derived));
        assert_eq!(
            fitted("SELECT ARRAY(SELECT b FROM pg_roles WHERE b.oid = c.oid) AS l FROM pg_class AS c"),
            "SELECT CAST(NULL AS TEXT[]) AS l FROM pg_class AS c"
        );
        assert_eq!(
            fitted(
                "SELECT CASE WHEN a.d THEN (SELECT f(x.b, $2) FROM pg_x AS x WHERE x.r = a.r) ELSE NULL END FROM pg_attribute AS a"
            ),
            "SELECT CASE WHEN a.d THEN CAST(CASE WHEN $2 IS NULL THEN NULL END AS TEXT) ELSE NULL END FROM pg_attribute AS a"
        );
    }

    #[test]
    fn tables_are_visible_where_the_search_path_leads() {
        assert_eq!(
            rewritten(
                "SELECT c.reloptions, c.a FROM pg_class AS c WHERE c.b = 1 AND pg_table_is_visible(c.oid)",
                fit_catalog
            ),
            "SELECT CAST(NULL AS TEXT[]) AS reloptions, c.a FROM pg_class AS c WHERE c.b = 1 AND c.relnamespace IN \
             (SELECT v.oid FROM pg_catalog.pg_namespace AS v WHERE v.nspname IN (current_schema(), 'pg_catalog'))"
        );
    }
}
