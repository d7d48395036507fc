//! GoogleSQL as the parser needs to know it: BigQuery's dialect as the parser has it, and what that leaves
//! out, `<<`, `>>` and `ARRAY<type>[...]`.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{CastKind, Expr, Statement};
use datafusion::sql::sqlparser::dialect::{BigQueryDialect, Dialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// The dialect of every query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoogleSqlDialect;

const BASE: BigQueryDialect = BigQueryDialect {};

impl Dialect for GoogleSqlDialect {
    /// The parser asks for BigQuery by its type here and there.
    fn dialect(&self) -> TypeId {
        TypeId::of::<BigQueryDialect>()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let array = matches!(
            &parser.peek_token_ref().token,
            Token::Word(word) if word.keyword == Keyword::ARRAY && word.quote_style.is_none()
        );
        (array && parser.peek_nth_token_ref(1).token == Token::Lt).then(|| typed_array(parser))
    }

    fn parse_statement(&self, parser: &mut Parser<'_>) -> Option<Result<Statement, ParserError>> {
        BASE.parse_statement(parser)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        BASE.is_delimited_identifier_start(ch)
    }

    fn supports_projection_trailing_commas(&self) -> bool {
        BASE.supports_projection_trailing_commas()
    }

    fn supports_column_definition_trailing_commas(&self) -> bool {
        BASE.supports_column_definition_trailing_commas()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }

    fn supports_triple_quoted_string(&self) -> bool {
        BASE.supports_triple_quoted_string()
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        BASE.supports_window_function_null_treatment_arg()
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        BASE.supports_string_literal_backslash_escape()
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        BASE.supports_window_clause_named_window_reference()
    }

    fn supports_parenthesized_set_variables(&self) -> bool {
        BASE.supports_parenthesized_set_variables()
    }

    fn supports_select_wildcard_except(&self) -> bool {
        BASE.supports_select_wildcard_except()
    }

    fn require_interval_qualifier(&self) -> bool {
        BASE.require_interval_qualifier()
    }

    fn supports_struct_literal(&self) -> bool {
        BASE.supports_struct_literal()
    }

    fn supports_select_expr_star(&self) -> bool {
        BASE.supports_select_expr_star()
    }

    fn supports_execute_immediate(&self) -> bool {
        BASE.supports_execute_immediate()
    }

    fn supports_table_versioning(&self) -> bool {
        BASE.supports_table_versioning()
    }

    fn supports_group_by_expr(&self) -> bool {
        BASE.supports_group_by_expr()
    }

    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        BASE.is_column_alias(keyword, parser)
    }

    fn supports_pipe_operator(&self) -> bool {
        BASE.supports_pipe_operator()
    }

    fn supports_create_table_multi_schema_info_sources(&self) -> bool {
        BASE.supports_create_table_multi_schema_info_sources()
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        BASE.supports_select_wildcard_replace()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        BASE.supports_comma_separated_trim()
    }
}

/// `ARRAY<type>[...]`, as a cast of the array to that type.
fn typed_array(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let data_type = parser.parse_data_type()?;
    parser.expect_token(&Token::LBracket)?;
    let expr = Box::new(parser.parse_array_expr(true)?);
    Ok(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}
