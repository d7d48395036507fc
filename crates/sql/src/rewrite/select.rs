//! SELECT: writes out every `*`, names every column, resolves GROUP BY.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Distinct, Expr, GroupByExpr, Ident, NamedWindowExpr, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Value, ValueTableMode, WildcardAdditionalOptions,
};

use super::contents::Contents;
use super::from::{FromScope, StarColumn};
use super::{Columns, OutputColumn, Rewriter, Rows, plain};
use crate::error::SqlError;
use crate::suggest::nearest;

/// Most columns of CUBE: it groups by each choice of them.
const CUBE_COLUMNS_MAX: usize = 10;

/// One column on its way into the SELECT list.
struct Item {
    expr: Expr,
    /// The spelling that the result shows; `None` until anonymous columns are numbered.
    name: Option<String>,
    /// Whether the query wrote AS.
    explicit: bool,
}

impl Rewriter<'_> {
    pub(super) fn select(&mut self, select: &mut Select, rows: Rows) -> Result<Columns, SqlError> {
        refuse_clauses(select)?;
        let as_struct = value_table(select, rows)? && rows == Rows::Values;
        let scope = self.from(&mut select.from)?;
        // Taken off by the query that this is the body of.
        self.scopes.push(scope.star.clone());
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
        self.group_by(&mut select.group_by, &items, as_struct)?;
        let columns = self.name_columns(&items);
        if as_struct {
            let item = struct_of(items, &columns);
            select.projection = vec![SelectItem::ExprWithAlias { expr: item, alias: plain("f0_") }];
            return Ok([OutputColumn::shown("f0_")].into());
        }
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
    fn group_by(
        &mut self,
        group_by: &mut GroupByExpr,
        items: &[Item],
        as_struct: bool,
    ) -> Result<(), SqlError> {
        match group_by {
            GroupByExpr::All(modifiers) => {
                if !modifiers.is_empty() {
                    return Err(SqlError::unsupported("modifiers of GROUP BY ALL are not supported"));
                }
                let keys = items
                    .iter()
                    .enumerate()
                    .filter(|(_, item)| Contents::of(&item.expr).groupable())
                    .map(|(index, item)| if as_struct { item.expr.clone() } else { ordinal(index) })
                    .collect();
                *group_by = GroupByExpr::Expressions(keys, Vec::new());
            }
            GroupByExpr::Expressions(keys, modifiers) => {
                if !modifiers.is_empty() {
                    return Err(SqlError::unsupported("GROUP BY ... WITH is not GoogleSQL"));
                }
                for key in keys {
                    self.group_key(key, items, as_struct)?;
                }
            }
        }
        Ok(())
    }

    /// `in_place`: an item of the SELECT list is written out, and not named by its position.
    fn group_key(&mut self, key: &mut Expr, items: &[Item], in_place: bool) -> Result<(), SqlError> {
        let index = match key {
            Expr::Identifier(ident) => items.iter().position(|item| item.is_alias(&ident.value)),
            Expr::Value(value) if in_place => match &value.value {
                Value::Number(number, _) => {
                    number.parse::<usize>().ok().and_then(|place| place.checked_sub(1))
                }
                _ => None,
            },
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => return self.grouping_sets(key, items),
            _ => None,
        };
        match index {
            None => self.expr(key),
            Some(index) if in_place => {
                let item = items.get(index).ok_or_else(|| {
                    SqlError::invalid(format!("GROUP BY {}: there is no such column", index + 1))
                })?;
                *key = item.expr.clone();
                Ok(())
            }
            Some(index) => {
                *key = ordinal(index);
                Ok(())
            }
        }
    }

    /// ROLLUP and CUBE as the GROUPING SETS that they stand for.
    fn grouping_sets(&mut self, key: &mut Expr, items: &[Item]) -> Result<(), SqlError> {
        let sets = match std::mem::replace(key, Expr::Tuple(Vec::new())) {
            Expr::GroupingSets(sets) => sets,
            Expr::Rollup(parts) => (0..=parts.len()).rev().map(|count| parts[..count].concat()).collect(),
            Expr::Cube(parts) if parts.len() <= CUBE_COLUMNS_MAX => {
                let chosen = |set: u32| {
                    let parts = parts.iter().enumerate().filter(move |(index, _)| set & (1 << index) != 0);
                    parts.flat_map(|(_, part)| part.iter().cloned()).collect()
                };
                (0..1_u32 << parts.len()).rev().map(chosen).collect()
            }
            Expr::Cube(_) => {
                return Err(SqlError::unsupported(format!("CUBE takes at most {CUBE_COLUMNS_MAX} columns")));
            }
            _ => return Err(SqlError::internal("grouping sets are something else")),
        };
        let mut sets: Vec<Vec<Expr>> = sets;
        for key in sets.iter_mut().flatten() {
            self.group_key(key, items, true)?;
        }
        *key = Expr::GroupingSets(sets);
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

impl Rewriter<'_> {
    /// Numbers the anonymous columns `f0_`, `f1_`, as BigQuery does, and those that share a name.
    fn name_columns(&self, items: &[Item]) -> Columns {
        let mut anonymous = 0;
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut columns = Vec::with_capacity(items.len());
        for item in items {
            let name = match &item.name {
                Some(name) => name.clone(),
                None => {
                    anonymous += 1;
                    format!("f{}_", anonymous - 1)
                }
            };
            let count = counts.entry(name.to_lowercase()).or_default();
            *count += 1;
            columns.push(OutputColumn {
                copy: *count,
                fields: self.fields_of(&item.expr),
                ..OutputColumn::shown(name)
            });
        }
        for column in &mut columns {
            if counts.get(&column.name.to_lowercase()) == Some(&1) {
                column.copy = 0;
            }
        }
        columns.into()
    }
}

/// SELECT AS STRUCT makes one value of its columns.
fn struct_of(items: Vec<Item>, columns: &Columns) -> Expr {
    let named = items.into_iter().zip(columns.iter()).map(|(item, column)| match item.name {
        Some(_) => Expr::Named { expr: Box::new(item.expr), name: plain(&column.name) },
        None => item.expr,
    });
    Expr::Struct { values: named.collect(), fields: Vec::new() }
}

/// Takes AS STRUCT or AS VALUE off; whether it was AS STRUCT.
fn value_table(select: &mut Select, rows: Rows) -> Result<bool, SqlError> {
    let mode = select.value_table_mode.take();
    if matches!(mode, Some(ValueTableMode::DistinctAsStruct | ValueTableMode::DistinctAsValue)) {
        select.distinct = Some(Distinct::Distinct);
    }
    match mode {
        Some(ValueTableMode::AsStruct | ValueTableMode::DistinctAsStruct) => Ok(true),
        Some(_) if rows == Rows::Columns => Err(SqlError::unsupported(
            "SELECT AS VALUE is supported in expressions only, as in ARRAY(SELECT AS VALUE ...)",
        )
        .hint("select the columns themselves")),
        _ => Ok(false),
    }
}

fn projection(item: Item, column: &OutputColumn, scope: &FromScope) -> SelectItem {
    let lower = column.inside();
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
