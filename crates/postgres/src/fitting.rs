//! Statements made to fit DataFusion, where that does not change what they mean.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectName, Statement, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Writes what DataFusion has no words for in words that it has.
pub(crate) fn fit(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Fit);
}

struct Fit;

impl VisitorMut for Fit {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(fitted) = fitted(expr) {
            *expr = fitted;
        }
        ControlFlow::Continue(())
    }
}

fn fitted(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            let escape = escape_of(escape_char.as_ref()?)?;
            *escape_char = None;
            if let Some(rewritten) = with_backslashes(pattern, escape) {
                **pattern = rewritten;
            }
            None
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match right.as_ref() {
            Expr::Subquery(subquery) => {
                Some(Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated: false })
            }
            _ => None,
        },
        // What the cast of a name gives is looked up further on.
        Expr::Function(call) => {
            let kind = match name_of(&call.name).as_str() {
                "to_regclass" => "regclass",
                "to_regnamespace" => "regnamespace",
                "to_regproc" => "regproc",
                _ => return None,
            };
            let operand = only_argument(call)?.clone();
            Some(cast(operand, data_type(kind)?))
        }
        _ => None,
    }
}

/// The character of an ESCAPE; the outer `None` when it is none, the inner when nothing escapes.
fn escape_of(escape: &ValueWithSpan) -> Option<Option<char>> {
    let Value::SingleQuotedString(text) = &escape.value else { return None };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (first, None) => Some(first),
        _ => None,
    }
}

/// A pattern whose escapes are backslashes, which is all that DataFusion knows; `None` when it is one.
fn with_backslashes(pattern: &Expr, escape: Option<char>) -> Option<Expr> {
    if escape == Some('\\') {
        return None;
    }
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = pattern {
        let value = Value::SingleQuotedString(like_pattern(text, escape));
        return Some(Expr::Value(ValueWithSpan { value, span: *span }));
    }
    let escape = escape.map(String::from).unwrap_or_default().replace('\'', "''");
    let mut call = parsed(&format!("{LIKE_PATTERN}(NULL, '{escape}')"))?;
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut call
        && let Some(first) = list.args.first_mut()
    {
        *first = FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern.clone()));
    }
    Some(call)
}

/// The function that does for any text what [`like_pattern`] does.
pub(crate) const LIKE_PATTERN: &str = "like_pattern";

/// The pattern of a LIKE with another escape than the backslash, as one with the backslash.
pub(crate) fn like_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut rewritten = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            character if Some(character) == escape => {
                rewritten.push('\\');
                rewritten.extend(characters.next());
            }
            '\\' => rewritten.push_str("\\\\"),
            character => rewritten.push(character),
        }
    }
    rewritten
}

/// The argument of a call that has one.
pub(crate) fn only_argument(call: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
        _ => None,
    }
}

/// A name without its schema, in lower case.
pub(crate) fn name_of(name: &ObjectName) -> String {
    let last = name.0.last().and_then(|part| part.as_ident());
    last.map(|part| part.value.to_lowercase()).unwrap_or_default()
}

/// A cast.
pub(crate) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// A type by its name in SQL.
pub(crate) fn data_type(name: &str) -> Option<DataType> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(name).ok()?.parse_data_type().ok()
}

/// An expression of our own writing.
pub(crate) fn parsed(expr: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(expr).ok()?.parse_expr().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn statement(sql: &str) -> Statement {
        Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0)
    }

    pub(crate) fn rewritten(sql: &str, rewrite: impl Fn(&mut Statement)) -> String {
        let mut statement = statement(sql);
        rewrite(&mut statement);
        statement.to_string()
    }

    #[test]
    fn patterns_keep_their_meaning_with_backslashes() {
        assert_eq!(like_pattern("pg/_%", Some('/')), "pg\\_%");
        assert_eq!(like_pattern("a//b\\c", Some('/')), "a\\/b\\\\c");
        assert_eq!(like_pattern("50!%", Some('!')), "50\\%");
        assert_eq!(like_pattern("a\\_", None), "a\\\\_");
        let fitted = |sql: &str| rewritten(sql, fit);
        assert_eq!(fitted("SELECT a LIKE 'pg/_%' ESCAPE '/'"), "SELECT a LIKE 'pg\\_%'");
        assert_eq!(fitted("SELECT a NOT ILIKE 'x\\%' ESCAPE '\\'"), "SELECT a NOT ILIKE 'x\\%'");
        assert_eq!(
            fitted("SELECT a LIKE $1 || '%' ESCAPE '/'"),
            "SELECT a LIKE like_pattern($1 || '%', '/')"
        );
        assert_eq!(fitted("SELECT a LIKE 'x_'"), "SELECT a LIKE 'x_'");
        assert_eq!(fitted("SELECT a = ANY (SELECT b FROM u)"), "SELECT a IN (SELECT b FROM u)");
        assert_eq!(fitted("SELECT to_regclass('t')"), "SELECT CAST('t' AS REGCLASS)");
    }
}
