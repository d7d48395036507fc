//! SELECT: writes out every `*`, names every column, resolves GROUP BY.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Distinct, Expr, GroupByExpr, Ident, NamedWindowExpr, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Value, WildcardAdditionalOptions,
};

use super::from::{FromScope, StarColumn};
use super::{Columns, OutputColumn, Rewriter, expr::Contents, plain};
use crate::error::SqlError;
use crate::suggest::nearest;

/// One column on its way into the SELECT list.
struct Item {
    expr: Expr,
    /// The spelling that the result shows; `None` until anonymous columns are numbered.
    name: Option<String>,
    /// Whether the query wrote AS.
    explicit: bool,
}

impl Rewriter<'_> {
    pub(super) fn select(&mut self, select: &mut Select) -> Result<Columns, SqlError> {
        refuse_clauses(select)?;
        let scope = self.from(&mut select.from)?;
        if let Some(condition) = &mut select.selection {
            self.expr(condition)?;
        }
        for window in &mut select.named_window {
            window.0 = plain(&window.0.value.to_lowercase());
            match &mut window.1 {
                NamedWindowExpr::NamedWindow(name) => *name = plain(&name.value.to_lowercase()),
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        let mut items = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            self.item(item, &scope, &mut items)?;
        }
        for clause in [&mut select.having, &mut select.qualify].into_iter().flatten() {
            self.expr(clause)?;
        }
        self.group_by(&mut select.group_by, &items)?;
        let columns = name_columns(&mut items)?;
        select.projection = items
            .into_iter()
            .zip(columns.iter())
            .map(|(item, column)| projection(item, column, &scope))
            .collect();
        Ok(columns)
    }

    fn item(&mut self, item: SelectItem, scope: &FromScope, items: &mut Vec<Item>) -> Result<(), SqlError> {
        match item {
            SelectItem::UnnamedExpr(mut expr) => {
                let name = implied_name(&expr);
                self.expr(&mut expr)?;
                items.push(Item { expr, name, explicit: false });
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                self.expr(&mut expr)?;
                items.push(Item { expr, name: Some(alias.value), explicit: true });
            }
            SelectItem::Wildcard(options) => {
                if scope.tables.is_empty() {
                    return Err(SqlError::invalid("SELECT * needs a FROM clause"));
                }
                self.star(&scope.star.iter().collect::<Vec<_>>(), options, items)?;
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                let table = match &kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) if name.0.len() == 1 => name
                        .0
                        .first()
                        .and_then(|part| part.as_ident())
                        .map(|ident| ident.value.to_lowercase()),
                    _ => None,
                };
                let Some(table) = table.filter(|table| scope.tables.contains(table)) else {
                    let written = kind.to_string();
                    let name = written.trim_end_matches(".*");
                    let hint = nearest(name, scope.tables.iter().map(String::as_str));
                    return Err(SqlError::invalid(format!("{name}.*: there is no such table in FROM"))
                        .maybe_hint(hint.map(|name| format!("did you mean {name}.*?"))));
                };
                let star: Vec<_> = scope.star.iter().filter(|column| column.table == table).collect();
                self.star(&star, options, items)?;
            }
            SelectItem::ExprWithAliases { .. } => {
                return Err(SqlError::invalid("several aliases for one column are not GoogleSQL"));
            }
        }
        Ok(())
    }

    fn star(
        &mut self,
        star: &[&StarColumn],
        options: WildcardAdditionalOptions,
        items: &mut Vec<Item>,
    ) -> Result<(), SqlError> {
        if options.opt_ilike.is_some() || options.opt_rename.is_some() || options.opt_alias.is_some() {
            return Err(SqlError::unsupported("only EXCEPT and REPLACE may follow *"));
        }
        if options.opt_exclude.is_some() {
            return Err(SqlError::invalid("EXCLUDE is not GoogleSQL").hint("write * EXCEPT (columns)"));
        }
        let known = |name: &str, clause: &str| {
            let found = star.iter().any(|column| column.name.eq_ignore_ascii_case(name));
            if found {
                return Ok(name.to_lowercase());
            }
            let hint =
                nearest(name, star.iter().filter(|column| !column.hidden).map(|column| column.name.as_str()));
            Err(SqlError::invalid(format!("column {name} in {clause} is not in *"))
                .maybe_hint(hint.map(|name| format!("did you mean {name}?"))))
        };
        let mut dropped = Vec::new();
        if let Some(except) = options.opt_except {
            for ident in std::iter::once(except.first_element).chain(except.additional_elements) {
                dropped.push(known(&ident.value, "EXCEPT")?);
            }
        }
        let mut replaced = Vec::new();
        for element in options.opt_replace.map(|replace| replace.items).unwrap_or_default() {
            let mut expr = element.expr;
            let name = known(&element.column_name.value, "REPLACE")?;
            self.expr(&mut expr)?;
            replaced.push((name, element.column_name.value, expr));
        }
        let before = items.len();
        for column in star.iter().filter(|column| !column.hidden) {
            let lower = column.name.to_lowercase();
            if dropped.contains(&lower) {
                continue;
            }
            match replaced.iter().find(|(name, ..)| *name == lower) {
                Some((_, name, expr)) => {
                    items.push(Item { expr: expr.clone(), name: Some(name.clone()), explicit: true });
                }
                None => items.push(Item {
                    expr: column.expr.clone(),
                    name: Some(column.name.clone()),
                    explicit: false,
                }),
            }
        }
        if items.len() == before {
            return Err(SqlError::invalid("SELECT * EXCEPT leaves no column"));
        }
        Ok(())
    }

    /// An alias of the SELECT list goes before a column of the same name; GROUP BY ALL takes every
    /// item that names a column and neither aggregates nor looks through a window.
    fn group_by(&mut self, group_by: &mut GroupByExpr, items: &[Item]) -> Result<(), SqlError> {
        match group_by {
            GroupByExpr::All(modifiers) => {
                if !modifiers.is_empty() {
                    return Err(SqlError::unsupported("modifiers of GROUP BY ALL are not supported"));
                }
                let keys = items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| Contents::of(&item.expr).groupable())
                    .map(|(index, _)| ordinal(index))
                    .collect();
                *group_by = GroupByExpr::Expressions(keys, Vec::new());
            }
            GroupByExpr::Expressions(keys, modifiers) => {
                if !modifiers.is_empty() {
                    return Err(SqlError::unsupported("GROUP BY ... WITH is not GoogleSQL"));
                }
                for key in keys {
                    let alias = match key {
                        Expr::Identifier(ident) => items.iter().position(|item| item.is_alias(&ident.value)),
                        _ => None,
                    };
                    match alias {
                        Some(index) => *key = ordinal(index),
                        None => self.expr(key)?,
                    }
                }
            }
        }
        Ok(())
    }
}

impl Item {
    fn is_alias(&self, name: &str) -> bool {
        self.explicit && self.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

fn ordinal(index: usize) -> Expr {
    Expr::Value(Value::Number((index + 1).to_string(), false).into())
}

/// The name a column has without AS: the last name of a path.
fn implied_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(path) => path.last().map(|ident| ident.value.clone()),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(Expr::Identifier(Ident { value, .. }))) => Some(value.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Numbers the anonymous columns `f0_`, `f1_`, as BigQuery does, and refuses two of one name.
fn name_columns(items: &mut [Item]) -> Result<Columns, SqlError> {
    let mut anonymous = 0;
    let mut seen = std::collections::HashSet::new();
    let mut columns = Vec::with_capacity(items.len());
    for item in items {
        let name = match &item.name {
            Some(name) => name.clone(),
            None => {
                anonymous += 1;
                format!("f{}_", anonymous - 1)
            }
        };
        if !seen.insert(name.to_lowercase()) {
            return Err(SqlError::invalid(format!("duplicate column name {name} in the result"))
                .hint("give one of them another name with AS, or leave it out with * EXCEPT"));
        }
        columns.push(OutputColumn::shown(name));
    }
    Ok(columns.into())
}

fn projection(item: Item, column: &OutputColumn, scope: &FromScope) -> SelectItem {
    let lower = column.name.to_lowercase();
    // A plain column keeps its qualifier, so that ORDER BY t.x still finds it.
    let keeps_name = match &item.expr {
        Expr::Identifier(ident) => ident.value == lower,
        Expr::CompoundIdentifier(path) => match path.as_slice() {
            [table, name] => scope.tables.contains(&table.value) && name.value == lower,
            _ => false,
        },
        _ => false,
    };
    if keeps_name {
        SelectItem::UnnamedExpr(item.expr)
    } else {
        SelectItem::ExprWithAlias { expr: item.expr, alias: plain(&lower) }
    }
}

fn refuse_clauses(select: &Select) -> Result<(), SqlError> {
    let refused = [
        (select.top.is_some(), "TOP", "write LIMIT n at the end"),
        (select.into.is_some(), "SELECT INTO", "only queries are run here"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW", "write UNNEST"),
        (select.prewhere.is_some(), "PREWHERE", "write WHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY", "it is not GoogleSQL"),
        (
            !select.cluster_by.is_empty() || !select.distribute_by.is_empty(),
            "CLUSTER BY",
            "it is not GoogleSQL",
        ),
        (!select.sort_by.is_empty(), "SORT BY", "write ORDER BY"),
        (select.exclude.is_some(), "EXCLUDE", "write * EXCEPT (columns)"),
        (
            matches!(select.distinct, Some(Distinct::On(_))),
            "DISTINCT ON",
            "write QUALIFY ROW_NUMBER() OVER (...) = 1",
        ),
        (select.value_table_mode.is_some(), "SELECT AS STRUCT or AS VALUE", "select the columns themselves"),
        (select.select_modifiers.is_some(), "this SELECT modifier", "it is not GoogleSQL"),
    ];
    match refused.iter().find(|(found, ..)| *found) {
        Some((_, clause, hint)) => {
            Err(SqlError::unsupported(format!("{clause} is not supported")).hint(*hint))
        }
        None if select.projection.is_empty() => {
            Err(SqlError::invalid("a query without a SELECT list").hint("write SELECT ... FROM ..."))
        }
        None => Ok(()),
    }
}
