//! The fields of structs that UNNEST makes columns of. The planner knows types only later, so they are read
//! off the expression that makes the array, and followed through subqueries.

use std::rc::Rc;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};

use super::Rewriter;
use super::calls::{arguments, call};
use super::from::{StarColumn, qualified};
use super::literal::string;
use crate::error::SqlError;
use crate::functions::{ARRAY_OF, FIRST_BY};

/// The fields of an array's elements, in order and as they are spelled.
pub(crate) type Fields = Rc<[String]>;

impl Rewriter<'_> {
    /// The fields of the elements of an array that was rewritten; `None` when they are no structs, or
    /// nobody can tell.
    pub(super) fn fields_of(&self, array: &Expr) -> Option<Fields> {
        match array {
            Expr::Nested(inner) => self.fields_of(inner),
            Expr::Array(array) => array.elem.first().and_then(names_of),
            Expr::Identifier(name) => self.column(None, &name.value)?.fields.clone(),
            Expr::CompoundIdentifier(path) => match path.as_slice() {
                [table, name] => self.column(Some(&table.value), &name.value)?.fields.clone(),
                _ => None,
            },
            Expr::Function(function) => {
                let given = arguments(function);
                let first = given.first()?;
                match function.name.to_string().as_str() {
                    "array_agg" => names_of(first),
                    ARRAY_OF => match first {
                        Expr::Subquery(query) => row_names(query),
                        _ => None,
                    },
                    // An array of arrays.
                    "#flattened" => match first {
                        Expr::Function(function) => self.fields_of(arguments(function).first()?),
                        _ => None,
                    },
                    FIRST_BY | "any_value" | "coalesce" | "array_concat" | "array_reverse"
                    | "array_slice" | "#first" | "#emptied" | "#no_array" => self.fields_of(first),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A column by its name, of the innermost FROM clause that has it.
    fn column(&self, table: Option<&str>, name: &str) -> Option<&StarColumn> {
        let mut scopes = std::iter::once(&self.visible).chain(self.scopes.iter().rev());
        scopes.find_map(|scope| {
            scope.iter().find(|column| {
                table.is_none_or(|table| column.table == table) && column.name.eq_ignore_ascii_case(name)
            })
        })
    }

    /// What a bare name stands for, when it is no plain column's: an unnested struct's field, or an unnested
    /// array's element that has a column's name, before which it goes.
    ///
    /// # Errors
    /// When a field and another table's column have that name.
    pub(super) fn bare_name(&self, name: &str) -> Result<Option<Expr>, SqlError> {
        let named = |column: &&StarColumn| column.name.eq_ignore_ascii_case(name);
        let mut scopes = std::iter::once(&self.visible).chain(self.scopes.iter().rev());
        let Some(scope) = scopes.find(|scope| scope.iter().any(|column| named(&column))) else {
            return Ok(None);
        };
        let mut found: Vec<&StarColumn> = Vec::new();
        for column in scope.iter().filter(named) {
            // Those of a join in parentheses are there twice.
            if !found.iter().any(|other| other.expr == column.expr) {
                found.push(column);
            }
        }
        match found.as_slice() {
            [one] => Ok(one.is_field.then(|| one.expr.clone())),
            several => match several.iter().find(|column| column.is_element) {
                Some(element) => Ok(Some(element.expr.clone())),
                // Of one table, which the planner has under two other names.
                None if several.windows(2).all(|pair| pair[0].table == pair[1].table) => {
                    Err(SqlError::invalid(format!("column name {name} is ambiguous"))
                        .hint("give one of them another name with AS"))
                }
                None if several.iter().any(|column| column.is_field) => {
                    Err(SqlError::invalid(format!("column name {name} is ambiguous"))
                        .hint("say which table it is of: alias.column"))
                }
                None => Ok(None),
            },
        }
    }

    /// What a path stands for, when it begins with an unnested struct's field.
    pub(super) fn field_path(&self, path: &[Ident]) -> Option<Expr> {
        let [table, name, rest @ ..] = path else { return None };
        let column = self.column(Some(&table.value.to_lowercase()), &name.value)?;
        let within = |value, name: &Ident| call("#field", vec![value, string(name.value.clone())]);
        column.is_field.then(|| rest.iter().fold(column.expr.clone(), within))
    }
}

/// The columns that `*` has for an unnested struct.
pub(super) fn field_columns(table: &str, fields: &Fields) -> Vec<StarColumn> {
    let column = |name: &String| StarColumn {
        expr: call("#field", vec![qualified(table, table), string(name.clone())]),
        table: table.to_owned(),
        name: name.clone(),
        hidden: false,
        fields: None,
        is_field: true,
        is_element: false,
    };
    fields.iter().map(column).collect()
}

/// The names of a struct's fields, when all have one.
fn names_of(value: &Expr) -> Option<Fields> {
    let Expr::Struct { values, .. } = value else { return None };
    let name = |value: &Expr| match value {
        Expr::Named { name, .. } => Some(name.value.clone()),
        _ => None,
    };
    values.iter().map(name).collect()
}

/// The fields of the rows of a query that selects structs.
fn row_names(query: &Query) -> Option<Fields> {
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = query.body.as_ref(),
            SetExpr::Select(select) => {
                return match select.projection.as_slice() {
                    [SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)] => {
                        names_of(expr)
                    }
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}
